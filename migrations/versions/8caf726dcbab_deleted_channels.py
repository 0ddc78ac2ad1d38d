"""deleted channels

Revision ID: 8caf726dcbab
Revises: 1fb50f3121b1
Create Date: 2026-11-22 05:40:52.454117

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '8caf726dcbab'
down_revision = '1fb50f3121b1'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('crdt_deleted_channels',
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('owner_id', sa.Integer(), nullable=True),
    sa.Column('deleted_at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['owner_id'], ['users.id'], ),
    sa.PrimaryKeyConstraint('name')
    )
    with op.batch_alter_table('crdt_deleted_channels', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_crdt_deleted_channels_deleted_at'), ['deleted_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_crdt_deleted_channels_owner_id'), ['owner_id'], unique=False)


def downgrade():
    with op.batch_alter_table('crdt_deleted_channels', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_crdt_deleted_channels_owner_id'))
        batch_op.drop_index(batch_op.f('ix_crdt_deleted_channels_deleted_at'))

    op.drop_table('crdt_deleted_channels')
