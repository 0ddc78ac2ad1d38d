"""topics

Revision ID: 7ad1f0c2b6e4
Revises: 5c41d7a90be2
Create Date: 2026-11-21 12:40:00.000000

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '7ad1f0c2b6e4'
down_revision = '5c41d7a90be2'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('retained',
    sa.Column('audience', sa.String(), nullable=False),
    sa.Column('topic', sa.String(), nullable=False),
    sa.Column('data', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('audience', 'topic')
    )
    with op.batch_alter_table('events', schema=None) as batch_op:
        batch_op.add_column(sa.Column('skip', sa.String(), server_default='', nullable=False))

    # Receipts answer retries of one day: none of them need outlive the change of their key.
    op.drop_table('receipts')
    make_receipts(sa.Column('owner', sa.String(), nullable=False), 'owner')


def make_receipts(owner, name, *more):
    op.create_table('receipts',
    owner,
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('status', sa.Integer(), nullable=False),
    sa.Column('answer', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    *more,
    sa.PrimaryKeyConstraint(name, 'key')
    )
    with op.batch_alter_table('receipts', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_receipts_created_at'), ['created_at'], unique=False)


def downgrade():
    op.drop_table('receipts')
    user = sa.ForeignKeyConstraint(['user_id'], ['users.id'])
    make_receipts(sa.Column('user_id', sa.Integer(), nullable=False), 'user_id', user)
    with op.batch_alter_table('events', schema=None) as batch_op:
        batch_op.drop_column('skip')

    op.drop_table('retained')
