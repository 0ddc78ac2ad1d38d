"""Rows of a model that has columns alone go past the ORM (models.read_rows, models.store_rows)."""

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm.exc import UnmappedInstanceError

from models import Category, Item, Post, Room, Todo, db, plain_names, read_rows, store_rows


def make_todos(*titles: str) -> list[Todo]:
    """New todos on the public list."""
    return list(store_rows(Todo, [Todo.make(None, title=title) for title in titles]))


def test_only_columns_are_plain(app: Flask) -> None:
    facts = {"user_id", "title", "completed"}
    assert set(plain_names(Todo)) == {"id", "created_at", "updated_at"} | facts
    assert plain_names(Category)
    assert plain_names(Post) == plain_names(Item) == plain_names(Room) == ()


def test_columns_come_in_the_order_of_a_statement(app: Flask) -> None:
    for mapper in db.Model.registry.mappers:
        if names := plain_names(mapper.class_):
            assert tuple(select(mapper.class_).selected_columns.keys()) == names
            assert tuple(column.name for column in mapper.class_.__table__.columns) == names


def test_plain_rows_say_what_the_orm_says(app: Flask) -> None:
    with app.app_context():
        stored = make_todos("a", "b", "c")
        known = db.session.scalars(select(Todo).order_by(Todo.id)).all()
        read = read_rows(select(Todo).add_columns(Todo.title).order_by(Todo.id), {})
        assert [row.to_dict() for row in stored] == [row.to_dict() for row in known]
        assert [(row.to_dict(), more) for row, more in read] == [
            (row.to_dict(), row.title) for row in known
        ]
        assert [row.title for row in stored] == ["a", "b", "c"]


def test_plain_rows_are_not_changed_by_mistake(app: Flask) -> None:
    with app.app_context():
        (row,) = make_todos("a")
        with pytest.raises((AttributeError, UnmappedInstanceError)):
            row.title = "b"
        with pytest.raises(UnmappedInstanceError):
            db.session.add(row)
