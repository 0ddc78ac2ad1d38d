"""channels

Revision ID: 1fb50f3121b1
Revises: c8a10701a15d
Create Date: 2026-11-22 01:28:28.189325

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '1fb50f3121b1'
down_revision = 'c8a10701a15d'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('crdt_invites',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('role', sa.String(), nullable=False),
    sa.Column('expires_at', sa.DateTime(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['channel'], ['crdt_channels.name'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('digest')
    )
    with op.batch_alter_table('crdt_invites', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_crdt_invites_channel'), ['channel'], unique=False)

    op.create_table('crdt_members',
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('user_id', sa.Integer(), nullable=False),
    sa.Column('role', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['channel'], ['crdt_channels.name'], ),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], ),
    sa.PrimaryKeyConstraint('channel', 'user_id')
    )
    with op.batch_alter_table('crdt_members', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_crdt_members_user_id'), ['user_id'], unique=False)

    op.create_table('crdt_rows',
    sa.Column('channel', sa.String(), nullable=False),
    sa.Column('table', sa.String(), nullable=False),
    sa.Column('pk', sa.String(), nullable=False),
    sa.Column('row_id', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['channel'], ['crdt_channels.name'], ),
    sa.PrimaryKeyConstraint('channel', 'table', 'pk'),
    sa.UniqueConstraint('channel', 'table', 'row_id'),
    sqlite_with_rowid=False
    )
    with op.batch_alter_table('collections', schema=None) as batch_op:
        batch_op.add_column(sa.Column('is_synced', sa.Boolean(), nullable=False, server_default=sa.false()))

    with op.batch_alter_table('crdt_channels', schema=None) as batch_op:
        batch_op.add_column(sa.Column('kind', sa.String(), nullable=False, server_default='log'))
        batch_op.add_column(sa.Column('tables', sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column('schemas', sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column('is_mapped', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.create_index(batch_op.f('ix_crdt_channels_owner_id'), ['owner_id'], unique=False)

    with op.batch_alter_table('crdt_tracked_peers', schema=None) as batch_op:
        batch_op.add_column(sa.Column('kind', sa.String(), nullable=False, server_default='log'))



def downgrade():
    with op.batch_alter_table('crdt_tracked_peers', schema=None) as batch_op:
        batch_op.drop_column('kind')

    with op.batch_alter_table('crdt_channels', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_crdt_channels_owner_id'))
        batch_op.drop_column('is_mapped')
        batch_op.drop_column('schemas')
        batch_op.drop_column('tables')
        batch_op.drop_column('kind')

    with op.batch_alter_table('collections', schema=None) as batch_op:
        batch_op.drop_column('is_synced')

    op.drop_table('crdt_rows')
    with op.batch_alter_table('crdt_members', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_crdt_members_user_id'))

    op.drop_table('crdt_members')
    with op.batch_alter_table('crdt_invites', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_crdt_invites_channel'))

    op.drop_table('crdt_invites')
