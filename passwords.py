"""Passwords: what is accepted as one, its hash, and the check that costs the same for everybody.

OWASP's password storage and authentication cheat sheets: bcrypt with a cost setting, no rules of
composition, the most common passwords refused.
"""

import unicodedata
from functools import cache

import bcrypt
from flask import current_app
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from errors import bad_request
from models import User

MIN_BYTES, MAX_BYTES = 8, 72  # bcrypt reads no more


def hash_password(password: str, field: str = "password") -> str:
    """Hash a new password; raises 400, told under `field`, for one that is not accepted."""
    if text := reason_against(password):
        raise bad_request(text, {field: [text]})
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

    A hash made under another BCRYPT_ROUNDS is replaced; the caller commits.
    """
    secret = to_bytes(password)
    stored = user.password_hash if user else dummy_hash()
    right = bcrypt.checkpw(secret[:MAX_BYTES], stored.encode()) and len(secret) <= MAX_BYTES
    if user is None or not right:
        return False
    if not stored.startswith(dummy_hash()[:7]):
        user.password_hash = bcrypt.hashpw(secret, bcrypt.gensalt(rounds())).decode()
    return True


def to_bytes(password: str) -> bytes:
    """The bytes to hash, the same for every way to type an accent (RFC 8265, OpaqueString)."""
    return unicodedata.normalize("NFC", password).encode()


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
