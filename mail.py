"""Mail by SMTP, where SMTP_URL says how; sent in the background, so that nobody waits for it."""

import logging
import smtplib
import ssl
import threading
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from flask import current_app

log = logging.getLogger(__name__)

SECONDS = 20.0  # how long a mail server may take to answer


def is_set_up() -> bool:
    """Whether this server sends mail."""
    return bool(current_app.config["SMTP_URL"])


def send(to: str, subject: str, text: str) -> None:
    """Send a plain mail; a failure is logged."""
    message = EmailMessage()
    message["From"] = current_app.config["MAIL_FROM"]
    message["To"] = to
    message["Subject"] = subject
    message.set_content(text)
    arguments = (current_app.config["SMTP_URL"], message)
    threading.Thread(target=deliver, args=arguments, name="mail").start()


def deliver(url: str, message: EmailMessage) -> None:
    """Hand a mail to the server: encrypted by `smtps:`, and by `smtp:` with a password in it."""
    parts = urlsplit(url)
    tls = ssl.create_default_context()
    try:
        place = parts.hostname or "localhost", parts.port or 0
        with (
            smtplib.SMTP_SSL(*place, timeout=SECONDS, context=tls)
            if parts.scheme == "smtps"
            else smtplib.SMTP(*place, timeout=SECONDS)
        ) as server:
            if parts.username:
                if parts.scheme == "smtp":
                    server.starttls(context=tls)
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (OSError, ValueError, smtplib.SMTPException):
        log.exception("mail was not sent")
