"""What an administrator types: `flask user create|promote|reset-password|list`."""

import click
from flask import Flask
from flask.cli import AppGroup

from auth import note
from errors import WharfError
from models import ROLES, User, db, iso, rows_of
from passwords import hash_password, reset_link
from validation import Email, Input, Name, Username, clean_login, validate

users = AppGroup("user", help="Accounts.")


class NewUser(Input):
    """An account as it is typed."""

    email: Email | None = None
    username: Username | None = None
    name: Name


def find(login: str) -> User:
    """The account of this email or username; ends the command when there is none."""
    user = User.find(clean_login(login))
    if user is None:
        raise click.ClickException(f"There is no account {login}")
    return user


@users.command()
@click.argument("login")
@click.option("--name", default="", help="What others call the user.")
@click.option("--role", type=click.Choice(list(ROLES)), default="user")
@click.password_option()
def create(login: str, name: str, role: str, password: str) -> None:
    """Make an account that signs in by LOGIN, an email or a username."""
    try:
        facts = {
            "email" if "@" in login else "username": login,
            "name": name or login.split("@")[0],
        }
        new = validate(NewUser, facts)
        user = User(**new.model_dump(), role=role, password_hash=hash_password(password))
    except WharfError as error:
        raise click.ClickException(error.message) from None
    if User.find(new.email or new.username or ""):
        raise click.ClickException(f"{login} is already registered")
    db.session.add(user)
    db.session.flush()
    note("registered", user)
    db.session.commit()
    click.echo(f"{login} can sign in now.")


@users.command()
@click.argument("login")
@click.option("--role", type=click.Choice(list(ROLES)), default="admin", show_default=True)
def promote(login: str, role: str) -> None:
    """Give the account LOGIN a role."""
    user = find(login)
    if user.role != role:
        note("role-changed", user, f"{user.role} to {role}")
    user.role = role
    db.session.commit()
    click.echo(f"{login} is {role} now.")


@users.command("reset-password")
@click.argument("login")
def reset_password(login: str) -> None:
    """Print a link by which the user of LOGIN sets a new password, once, within an hour."""
    user = find(login)
    note("password-reset-asked", user)
    link = reset_link(user)
    db.session.commit()
    click.echo(link)


@users.command("list")
def list_users() -> None:
    """Print all accounts, oldest first."""
    for user in rows_of(User.existing().order_by(User.id)):
        since, login = iso(user.created_at)[:10], user.email or user.username
        click.echo(f"{user.id:>6}  {user.role:<6}  {since}  {login}  {user.name}")


def init_app(app: Flask) -> None:
    """Let `flask` know these commands."""
    app.cli.add_command(users)
