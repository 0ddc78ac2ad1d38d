"""Passwords: what passes as one, its hash, a check that costs the same for all, the reset link.

OWASP's password storage and authentication cheat sheets: bcrypt with a cost setting, no rules of
composition, the most common passwords refused.
"""

import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import bcrypt
from flask import current_app
from sqlalchemy import update
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from errors import WharfError, bad_request
from models import OneTimeToken, User, db

MIN_BYTES, MAX_BYTES = 8, 72  # bcrypt reads no more
RESET_LIFE = timedelta(hours=1)
MAX_CHARACTERS = 300  # more are over MAX_BYTES in any case; to normalise them could take hours
SECONDS = 10.0  # how long a request may wait for its turn to hash
turns = threading.BoundedSemaphore(os.cpu_count() or 1)


@contextmanager
def turn_to_hash() -> Iterator[None]:
    """Hash no more passwords at once than there are cores, or they leave nothing for the rest.

    Raises 503 when it takes too long.
    """
    if not turns.acquire(timeout=SECONDS):
        raise WharfError(503, "Too many sign-ins at once, try again", headers={"Retry-After": "5"})
    try:
        yield
    finally:
        turns.release()


def hash_password(password: str, field: str = "password") -> str:
    """Hash a new password; raises 400, told under `field`, for one that is not accepted.

    Takes long: the caller holds no connection meanwhile.
    """
    if text := reason_against(password):
        raise bad_request(text, {field: [text]})
    with turn_to_hash():
        return bcrypt.hashpw(to_bytes(password), bcrypt.gensalt(rounds())).decode()


def reason_against(password: str) -> str:
    """Why this cannot be a password; empty when it can."""
    if not MIN_BYTES <= len(to_bytes(password)) <= MAX_BYTES:
        return f"Password must be {MIN_BYTES} to {MAX_BYTES} bytes long"
    if "\0" in password:
        return "Password must not contain NUL"
    if password.lower() in common_passwords():
        return "This password is one of the most common, choose another"
    return ""


def check_password(user: User | None, password: str) -> bool:
    """Whether `password` is this user's; takes as long for a user that does not exist.

    The caller commits: until then a change of the password waits, and afterwards ends what begins
    here. A hash made under another BCRYPT_ROUNDS is replaced.
    """
    stored = user.password_hash if user else dummy_hash()
    if not matches(stored, password) or user is None:
        return False
    fresh = stored
    if not stored.startswith(dummy_hash()[:7]):
        fresh = bcrypt.hashpw(to_bytes(password), bcrypt.gensalt(rounds())).decode()
    same = (User.id == user.id) & (User.password_hash == stored) & User.is_active  # by now, too
    statement = update(User).where(same).values(password_hash=fresh).returning(User.id)
    return db.session.scalar(statement) is not None


def matches(stored: str, password: str) -> bool:
    """Whether this is the hash of this password."""
    secret = to_bytes(password)
    return bcrypt.checkpw(secret[:MAX_BYTES], stored.encode()) and len(secret) <= MAX_BYTES


def to_bytes(password: str) -> bytes:
    """The bytes to hash, the same for every way to type an accent (RFC 8265, OpaqueString)."""
    return unicodedata.normalize("NFC", password[:MAX_CHARACTERS]).encode()


def dummy_hash() -> str:
    """What no password hashes to, at the cost of a real one."""
    return f"$2b${rounds():02}${'.' * 53}"


def rounds() -> int:
    """The cost of a hash, log2."""
    cost: int = current_app.config["BCRYPT_ROUNDS"]
    return cost


@cache
def common_passwords() -> frozenset[str]:
    """The most common passwords that are long enough, in lower case."""
    return frozenset(word for word in FREQUENCY_LISTS["passwords"] if len(word) >= MIN_BYTES)


def reset_link(user: User) -> str:
    """A new one-time link; the caller commits. The token is behind #, so that no log has it."""
    token = OneTimeToken.issue("reset", user, RESET_LIFE)
    return f"{current_app.config['PUBLIC_URL'].rstrip('/')}/#reset={token}"
