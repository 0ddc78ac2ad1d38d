"""Every setting of Wharf: one typed table, read from the environment and from `.env`.

`python app.py` needs none of them. docs/settings.md and .env.example list the same names.
"""

import re
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from limits import parse_many
from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from file_types import type_named

VERSION = "0.1.0"
HOW_TO_MAKE_A_SECRET = 'python -c "import secrets; print(secrets.token_hex(32))"'
HOW_TO_MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
Words = Annotated[tuple[str, ...], NoDecode]


def check_rate_limit(text: str) -> str:
    """Raise ValueError unless it is one rule that lets something through: `10 per 15 minutes`."""
    words = "must be one rule such as `10 per 15 minutes`"
    try:
        (rule,) = parse_many(text)
    except ValueError:
        raise ValueError(words) from None
    if min(rule.amount, rule.multiples) < 1:
        raise ValueError(words)
    return text


RateLimit = Annotated[str, AfterValidator(check_rate_limit)]


class MissingSecret(RuntimeError):
    """SECRET_KEY is not set where several processes must share it."""


class Settings(BaseSettings):
    """The settings table: name, type, default and one line of help each."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    SECRET_KEY: str = Field("", description="Signs tokens; every process needs the same one.")
    DATABASE_URL: str = Field(
        "sqlite:///wharf.db",
        description="SQLAlchemy URL. A relative SQLite path lies in `instance/`; "
        "`postgres://` and `postgresql://` are read by psycopg 3.",
    )
    REDIS_URL: str = Field("", description="Carries events between processes when set.")
    HOST: str = Field("127.0.0.1", description="Address `python app.py` listens on.")
    PORT: int = Field(8000, description="Port `python app.py` listens on.")
    SOCKET_URL: str = Field(
        "", description="Where pages find the sockets, `wss://host`; empty: where the page is."
    )
    CORS_ORIGINS: Words = Field(
        (), description="Origins, comma-separated, whose pages may call with credentials."
    )
    STORAGE_URL: str = Field(
        "uploads",
        description="Where uploads lie: a folder, `file:///folder` or `s3://bucket/prefix`.",
    )
    SQLITE_SYNCHRONOUS: Literal["FULL", "NORMAL"] = Field(
        "FULL", description="FULL: acknowledged data survives a power cut; NORMAL is faster."
    )
    PUBLIC_TODOS: bool = Field(True, description="Callers without account share one todo list.")
    ANONYMOUS_CHAT: bool = Field(
        False, description="Chat sockets without token are open; a bad token is refused as ever."
    )
    ANONYMOUS_SYNC: bool = Field(False, description="Sync channels are open without account.")
    ACCESS_TOKEN_MINUTES: int = Field(15, ge=1, description="Life of an access token.")
    REFRESH_TOKEN_DAYS: int = Field(30, ge=1, description="Life of a refresh token and cookie.")
    REFRESH_ROTATION: Literal["lenient", "strict"] = Field(
        "lenient",
        description="strict: a refresh token works once; its second use ends the session.",
    )
    BCRYPT_ROUNDS: int = Field(12, ge=4, le=18, description="Cost of a password hash (log2).")
    MAX_BODY_BYTES: int = Field(10_000_000, ge=1, description="Largest JSON body, in bytes.")
    MAX_UPLOAD_BYTES: int = Field(5_000_000, ge=1, description="Largest uploaded file, in bytes.")
    MAX_UPLOAD_FILES: int = Field(5, ge=1, description="Files of one upload.")
    UPLOAD_TYPES: Words = Field(
        ("jpeg", "jpg", "png", "gif", "pdf"),
        description="What may be uploaded, by the ends of names, comma-separated.",
    )
    UPLOAD_HOURS: int = Field(
        24, ge=1, description="How long a resumable upload may take, in hours."
    )
    MAX_IMAGE_PIXELS: int = Field(
        50_000_000, ge=1, description="Largest picture; one that says it is larger is refused."
    )
    QUOTA_BYTES: int = Field(
        1_000_000_000, ge=1, description="Bytes of one user's files, older versions too."
    )
    FILE_VERSIONS: int = Field(
        0, ge=0, description="How many versions of a file are kept, this one too; 0: all."
    )
    MAX_FRAME_BYTES: int = Field(1_000_000, ge=125, description="Largest chat message, in bytes.")
    SYNC_HORIZON_DAYS: int = Field(
        90, ge=1, description="How long `flask sync purge` waits for a replica, in days."
    )
    MAX_SYNC_FRAME_BYTES: int = Field(
        32_000_000, ge=125, description="Largest sync message: a long offline time in one piece."
    )
    FRAMES_PER_SECOND: int = Field(200, ge=1, description="Messages a socket may send; bursts x2.")
    SEND_QUEUE_BYTES: int = Field(
        4_000_000, ge=1, description="Bytes that may wait for a slow client; beyond it is cut off."
    )
    MAX_QUEUED_BYTES: int = Field(
        500_000_000,
        ge=1,
        description="Bytes that may wait for all clients of a process; beyond, the slowest go.",
    )
    MAX_SOCKETS: int = Field(20_000, ge=1, description="Sockets of one process.")
    MAX_SOCKETS_PER_USER: int = Field(200, ge=1, description="Sockets of one user in a process.")
    MAX_SOCKETS_PER_ADDRESS: int = Field(
        500, ge=1, description="Sockets of one address in a process."
    )
    PING_SECONDS: float = Field(30, gt=0, description="A socket is pinged this often.")
    LOGIN_LIMIT: RateLimit = Field(
        "10 per 15 minutes", description="Failed sign-ins of one account."
    )
    LOGIN_ADDRESS_LIMIT: RateLimit = Field(
        "100 per 15 minutes", description="Failed sign-ins from one address."
    )
    REGISTER_LIMIT: RateLimit = Field("100 per hour", description="Accounts made from one address.")
    RESET_LIMIT: RateLimit = Field(
        "5 per hour", description="Password resets asked for one account, or from one address."
    )
    CHAT_LIMIT: RateLimit = Field(
        "60 per minute",
        description="Chat to all sockets, of one user, or of one address without account.",
    )
    UPLOAD_LIMIT: RateLimit = Field("100 per minute", description="Uploads of one user.")
    API_LIMIT: RateLimit = Field(
        "1000 per minute", description="API calls of one user, or of one address without account."
    )
    PROXIES: int = Field(
        0, ge=0, description="Reverse proxies in front: so many are believed what they forward."
    )
    PUBLIC_URL: str = Field(
        "http://localhost:8000", description="Where users find this server: for links in mails."
    )
    SMTP_URL: str = Field(
        "", description="Mail server, `smtps://user:password@host` or `smtp://…`; empty: no mail."
    )
    MAIL_FROM: str = Field("wharf@localhost", description="Sender of mails.")
    VAPID_PRIVATE_KEY: str = Field(
        "", description="Signs what is pushed to browsers, 32 bytes in base64url; empty: no push."
    )
    VAPID_SUBJECT: str = Field(
        "", description="Whom push services may write to, `mailto:…` or `https:…`; empty: no push."
    )
    LOG_LEVEL: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    LOG_FORMAT: Literal["text", "json"] = Field(
        "text", description="json: one JSON object per line, and one line per request."
    )
    METRICS_TOKEN: str = Field(
        "", description="Opens /metrics to who sends it; empty: to callers on this machine alone."
    )

    @field_validator("CORS_ORIGINS", "UPLOAD_TYPES", mode="before")
    @classmethod
    def split_words(cls, value: Any) -> Any:
        """Read a comma-separated list."""
        if isinstance(value, str):
            return tuple(word.strip().rstrip("/") for word in value.split(",") if word.strip())
        return value

    @field_validator("UPLOAD_TYPES")
    @classmethod
    def check_types(cls, ends: tuple[str, ...]) -> tuple[str, ...]:
        """Of a type that is not known, nobody could tell whether it is what it says."""
        ends = tuple(end.lower().lstrip(".") for end in ends)
        if unknown := [end for end in ends if type_named(end) is None]:
            raise ValueError(f"must be ends of names whose type is known, unlike {unknown[0]}")
        return ends

    @field_validator("SECRET_KEY")
    @classmethod
    def refuse_a_short_secret(cls, secret: str) -> str:
        """RFC 7518 3.2: a key for HS256 has at least 256 bits."""
        if 0 < len(secret) < 32:
            raise ValueError(f"needs 32 characters or more; make one with: {HOW_TO_MAKE_A_SECRET}")
        return secret

    @field_validator("METRICS_TOKEN")
    @classmethod
    def refuse_a_short_token(cls, token: str) -> str:
        """Nothing counts who guesses at it."""
        if 0 < len(token) < 16:
            raise ValueError(f"needs 16 characters or more; make one with: {HOW_TO_MAKE_A_SECRET}")
        return token

    @field_validator("SMTP_URL")
    @classmethod
    def check_smtp(cls, url: str) -> str:
        """A scheme we do not know would send in the clear; a bad port shows when it is read."""
        parts = urlsplit(url)
        if url and not (parts.scheme in ("smtp", "smtps") and parts.hostname and parts.port != 0):
            raise ValueError("must be like smtps://user:password@host or smtp://host:port")
        return url

    @field_validator("VAPID_PRIVATE_KEY")
    @classmethod
    def check_vapid_key(cls, key: str) -> str:
        """RFC 8292: a key of P-256; any other would show only when something is pushed."""
        if key and not re.fullmatch(r"[\w-]{43}=?", key, re.ASCII):
            raise ValueError(f"must be 32 bytes in base64url; make one with: {HOW_TO_MAKE_A_KEY}")
        return key

    @field_validator("VAPID_SUBJECT")
    @classmethod
    def check_vapid_subject(cls, subject: str) -> str:
        """Push services refuse anything else."""
        if subject and not re.fullmatch(r"mailto:[^@\s]+@[\w.-]+|https://[\w.-]+", subject):
            raise ValueError("must be like mailto:admin@example.com or https://example.com")
        return subject

    @field_validator("DATABASE_URL")
    @classmethod
    def name_the_driver(cls, url: str) -> str:
        """PaaS providers write `postgres://`; SQLAlchemy wants dialect and driver."""
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url


def keep_secret(folder: Path) -> str:
    """Return the secret kept in `folder`, made on first use and readable by its owner alone."""
    path = folder / "secret"
    if not path.exists():
        draft = folder / f"secret-{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        draft.replace(path)  # whole or not at all
    return path.read_text().strip()


def require_secret(settings: Settings) -> None:
    """Raise MissingSecret unless SECRET_KEY is set: gunicorn's processes must share one."""
    if not settings.SECRET_KEY:
        raise MissingSecret(f"Set SECRET_KEY; make one with: {HOW_TO_MAKE_A_SECRET}")
