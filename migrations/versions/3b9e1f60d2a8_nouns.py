"""nouns

Revision ID: 3b9e1f60d2a8
Revises: 7ad1f0c2b6e4
Create Date: 2026-11-21 19:08:54.472978

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '3b9e1f60d2a8'
down_revision = '7ad1f0c2b6e4'
branch_labels = None
depends_on = None

# What is searched word by word (search.py): the columns of each table, and whose rows they are.
SEARCHED = {'todos': (('title',), 'user_id'), 'posts': (('title', 'content'), None)}
SPLIT = r'[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+'


def upgrade():
    op.create_table('categories',
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('slug', sa.String(), nullable=False),
    sa.Column('parent_id', sa.Integer(), nullable=True),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('updated_at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['parent_id'], ['categories.id'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('slug')
    )
    with op.batch_alter_table('categories', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_categories_parent_id'), ['parent_id'], unique=False)

    op.create_table('context_rules',
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('content', sa.Text(), nullable=False),
    sa.Column('description', sa.Text(), nullable=False),
    sa.Column('is_active', sa.Boolean(), nullable=False),
    sa.Column('priority', sa.Integer(), nullable=False),
    sa.Column('context_type', sa.String(), nullable=False),
    sa.Column('keywords', sa.JSON(), nullable=False),
    sa.Column('excluded_topics', sa.JSON(), nullable=False),
    sa.Column('prompt_template', sa.Text(), nullable=False),
    sa.Column('response_filters', sa.JSON(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('updated_at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('context_rules', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_context_rules_priority'), ['priority'], unique=False)

    op.create_table('tags',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('name')
    )
    op.create_table('posts',
    sa.Column('title', sa.String(), nullable=False),
    sa.Column('content', sa.Text(), nullable=False),
    sa.Column('published', sa.Boolean(), nullable=False),
    sa.Column('category_id', sa.Integer(), nullable=True),
    sa.Column('author_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('updated_at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['author_id'], ['users.id'], ),
    sa.ForeignKeyConstraint(['category_id'], ['categories.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('posts', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_posts_author_id'), ['author_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_posts_category_id'), ['category_id'], unique=False)
        batch_op.create_index('posts_published', ['published', 'id'], unique=False)

    op.create_table('comments',
    sa.Column('post_id', sa.Integer(), nullable=False),
    sa.Column('content', sa.Text(), nullable=False),
    sa.Column('author_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('updated_at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['author_id'], ['users.id'], ),
    sa.ForeignKeyConstraint(['post_id'], ['posts.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('comments', schema=None) as batch_op:
        batch_op.create_index('comments_of_post', ['post_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_comments_author_id'), ['author_id'], unique=False)

    op.create_table('post_tags',
    sa.Column('tag_id', sa.Integer(), nullable=False),
    sa.Column('post_id', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['post_id'], ['posts.id'], ),
    sa.ForeignKeyConstraint(['tag_id'], ['tags.id'], ),
    sa.PrimaryKeyConstraint('tag_id', 'post_id')
    )
    with op.batch_alter_table('post_tags', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_post_tags_post_id'), ['post_id'], unique=False)


    for table, (columns, owner) in SEARCHED.items():
        if op.get_bind().dialect.name == 'postgresql':
            add_words(table, columns)
        else:
            add_search(table, columns, owner)


def add_words(table, columns):
    text = " || ' ' || ".join(columns)
    words = f"to_tsvector('simple', regexp_replace({text}, '{SPLIT}', ' ', 'g'))"
    op.execute(f'ALTER TABLE {table} ADD words tsvector GENERATED ALWAYS AS ({words}) STORED')
    op.execute(f'CREATE INDEX {table}_words ON {table} USING gin (words) WITH (fastupdate = off)')


def add_search(table, columns, owner):
    names = ', '.join((*columns, owner) if owner else columns)

    def values(row):
        texts = [f'{row}id', *(f'{row}{name}' for name in columns)]
        return ', '.join(texts + ([f'coalesce({row}{owner}, 0)'] if owner else []))

    op.execute(
        f"CREATE VIRTUAL TABLE {table}_search USING fts5({names}, content='{table}', "
        "content_rowid='id', tokenize='unicode61 remove_diacritics 0')"
    )
    insert = f'INSERT INTO {table}_search (rowid, {names})'
    delete = f'INSERT INTO {table}_search ({table}_search, rowid, {names})'
    add = f'{insert} VALUES ({values("new.")});'
    drop = f"{delete} VALUES ('delete', {values('old.')});"
    for when, change in {
        'INSERT': add,
        'DELETE': drop,
        f'UPDATE OF id, {names}': drop + add,
    }.items():
        name = f'{table}_search_{when.split()[0].lower()}'
        op.execute(f'CREATE TRIGGER {name} AFTER {when} ON {table} BEGIN {change} END')
    op.execute(f'{insert} SELECT {values("")} FROM {table}')


def drop_search(table):
    if op.get_bind().dialect.name == 'postgresql':
        op.execute(f'ALTER TABLE {table} DROP words')
        return
    for when in ('insert', 'delete', 'update'):
        op.execute(f'DROP TRIGGER {table}_search_{when}')
    op.execute(f'DROP TABLE {table}_search')


def downgrade():
    for table in SEARCHED:
        drop_search(table)
    with op.batch_alter_table('post_tags', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_post_tags_post_id'))

    op.drop_table('post_tags')
    with op.batch_alter_table('comments', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_comments_author_id'))
        batch_op.drop_index('comments_of_post')

    op.drop_table('comments')
    with op.batch_alter_table('posts', schema=None) as batch_op:
        batch_op.drop_index('posts_published')
        batch_op.drop_index(batch_op.f('ix_posts_category_id'))
        batch_op.drop_index(batch_op.f('ix_posts_author_id'))

    op.drop_table('posts')
    op.drop_table('tags')
    with op.batch_alter_table('context_rules', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_context_rules_priority'))

    op.drop_table('context_rules')
    with op.batch_alter_table('categories', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_categories_parent_id'))

    op.drop_table('categories')
