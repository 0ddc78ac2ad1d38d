"""Mail: how SMTP_URL is read, that secrets travel encrypted, and that no failure is in the way."""

import queue
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from flask import Flask

import mail
from tests.accounts import ANN, REGISTER
from tests.conftest import assert_error

ASK = "/api/auth/password-reset"


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "wharf@a.test", "ann@b.test", "Hello"
    message.set_content("Hello Ann")
    return message


def join_senders() -> None:
    """Wait until nothing is being sent."""
    for thread in threading.enumerate():
        if thread.name == "mail":
            thread.join(10)


# The steps, by a mail server that is none


@pytest.fixture
def steps(monkeypatch: Any) -> list[Any]:
    """What is done with a mail server, in order."""
    done: list[Any] = []

    class FakeServer:
        def __init__(self, host: str, port: int, timeout: float, context: Any = None) -> None:
            done.append((type(self).__name__, host, port))
            assert timeout == mail.SECONDS
            if type(self).__name__ == "SMTP_SSL":
                assert_verified(context)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None:
            done.append("quit")

        def starttls(self, context: Any) -> None:
            assert_verified(context)
            done.append("starttls")

        def login(self, user: str, password: str) -> None:
            done.append(("login", user, password))

        def send_message(self, message: EmailMessage) -> None:
            done.append(("send", message["To"]))

    for name in ("SMTP", "SMTP_SSL"):
        monkeypatch.setattr(smtplib, name, type(name, (FakeServer,), {}))
    return done


def assert_verified(context: ssl.SSLContext) -> None:
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("url", "before"),
    [
        ("smtp://mail.test", [("SMTP", "mail.test", 0)]),
        ("smtp://127.0.0.1:2525", [("SMTP", "127.0.0.1", 2525)]),
        ("smtp://[::1]:2525", [("SMTP", "::1", 2525)]),
        ("smtps://mail.test", [("SMTP_SSL", "mail.test", 0)]),
        (
            "smtp://ann:secret@mail.test:587",
            [("SMTP", "mail.test", 587), "starttls", ("login", "ann", "secret")],
        ),
        (
            "smtps://ann%40b.test:p%40ss%3Aw%2Frd%25@mail.test:4650",
            [("SMTP_SSL", "mail.test", 4650), ("login", "ann@b.test", "p@ss:w/rd%")],
        ),
        ("smtps://ann@mail.test", [("SMTP_SSL", "mail.test", 0), ("login", "ann", "")]),
    ],
)
def test_url_says_how_mail_is_sent(steps: list[Any], url: str, before: list[Any]) -> None:
    mail.deliver(url, letter())
    assert steps == [*before, ("send", "ann@b.test"), "quit"]


# A small mail server


class MailServer:
    """Answers SMTP on a free port; `refuse` is a command it says no to."""

    def __init__(self, refuse: str = "", greeted: threading.Event | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.refuse, self.greeted = refuse, greeted
        self.commands: list[str] = []
        self.mails: queue.Queue[bytes] = queue.Queue()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        """One caller after the other, until the listener is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, connection.makefile("rwb") as stream:
                    self.talk(stream)

    def talk(self, stream: Any) -> None:
        """One conversation."""
        if self.greeted:
            self.greeted.wait(10)
        self.answer(stream, "220 mail.test")
        for line in stream:
            command = line.decode("latin-1").strip()
            self.commands.append(command)
            word = command.split(" ")[0].upper()
            if word == self.refuse:
                self.answer(stream, "550 no")
            elif word == "DATA":
                self.answer(stream, "354 go on")
                self.mails.put(b"".join(iter(stream.readline, b".\r\n")))
                self.answer(stream, "250 kept")
            else:
                self.answer(stream, "221 bye" if word == "QUIT" else "250 fine")

    @staticmethod
    def answer(stream: Any, text: str) -> None:
        """Say one line."""
        stream.write(f"{text}\r\n".encode())
        stream.flush()

    def stop(self) -> None:
        """Take no more calls."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def mail_server() -> Iterator[Callable[..., MailServer]]:
    """Starts mail servers that live until the test ends."""
    servers: list[MailServer] = []

    def start(**options: Any) -> MailServer:
        servers.append(MailServer(**options))
        return servers[-1]

    yield start
    join_senders()
    for server in servers:
        server.stop()


def test_reset_link_arrives_by_smtp(make_app: Any, mail_server: Any) -> None:
    server = mail_server()
    app = make_app(
        SMTP_URL=server.url, MAIL_FROM="Wharf <wharf@a.test>", PUBLIC_URL="https://a.test"
    )
    client = app.test_client()
    client.post(REGISTER, json={**ANN, "name": "Sign in at https://evil.test {site} %s"})
    assert client.post(ASK, json={"email": ANN["email"]}).status_code == 200
    received = message_from_bytes(server.mails.get(timeout=5), policy=policy.default)
    assert received["From"] == "Wharf <wharf@a.test>"
    assert (received["To"], received["Subject"]) == ("ann@example.com", "Set a new password")
    assert received.get_content_type() == "text/plain"
    text = received.get_content()
    assert text.startswith("Somebody, hopefully you, asked for a new password at https://a.test.")
    assert "evil" not in text  # nothing a stranger wrote: whoever registers an address names it
    assert text.count("https://a.test/#reset=") == 1
    join_senders()
    heard = [command.partition(" ")[0].upper() for command in server.commands]
    assert heard == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    envelope = [command.partition(":")[2] for command in server.commands[1:3]]
    assert envelope == ["<wharf@a.test>", "<ann@example.com>"]


def test_nobody_waits_for_the_mail_server(make_app: Any, mail_server: Any) -> None:
    greeted = threading.Event()
    server = mail_server(greeted=greeted)
    client = make_app(SMTP_URL=server.url).test_client()
    client.post(REGISTER, json=ANN)
    assert client.post(ASK, json={"email": ANN["email"]}).status_code == 200
    assert server.mails.empty()
    greeted.set()
    assert b"To: ann@example.com" in server.mails.get(timeout=5)


# Failures


@pytest.mark.parametrize("refuse", ["MAIL", "RCPT", "DATA"])
def test_refusal_is_logged_and_not_raised(mail_server: Any, caplog: Any, refuse: str) -> None:
    server = mail_server(refuse=refuse)
    mail.deliver(server.url, letter())
    assert server.mails.empty()
    assert [record.getMessage() for record in caplog.records] == ["mail was not sent"]


def test_password_is_never_sent_in_the_clear(mail_server: Any, caplog: Any) -> None:
    server = mail_server()  # offers no STARTTLS, as somebody in between could pretend
    mail.deliver(server.url.replace("//", "//ann:secret@"), letter())
    assert not any(command.upper().startswith("AUTH") for command in server.commands)
    assert server.mails.empty()
    assert [record.getMessage() for record in caplog.records] == ["mail was not sent"]
    assert "secret" not in caplog.text


def test_unencrypted_server_is_no_smtps_server(mail_server: Any, caplog: Any) -> None:
    server = mail_server()
    mail.deliver(server.url.replace("smtp:", "smtps:"), letter())
    assert server.mails.empty()
    assert [record.getMessage() for record in caplog.records] == ["mail was not sent"]


def test_silent_server_is_given_up(mail_server: Any, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(mail, "SECONDS", 0.1)
    greeted = threading.Event()
    server = mail_server(greeted=greeted)
    mail.deliver(server.url, letter())
    greeted.set()
    assert [record.getMessage() for record in caplog.records] == ["mail was not sent"]


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:1", "smtp://nowhere.invalid"])
def test_absent_server_is_logged_and_not_raised(caplog: Any, url: str) -> None:
    mail.deliver(url, letter())
    assert [record.getMessage() for record in caplog.records] == ["mail was not sent"]


# Headers


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An app that sends mail."""
    return make_app(SMTP_URL="smtp://mail.test")


@pytest.fixture
def delivered(monkeypatch: Any) -> list[EmailMessage]:
    """The mails handed to the server."""
    found: list[EmailMessage] = []
    monkeypatch.setattr(mail, "deliver", lambda url, message: found.append(message))
    return found


def test_mail_has_these_headers_alone(app: Flask, delivered: list[Any]) -> None:
    client = app.test_client()
    client.post(REGISTER, json=ANN)
    assert client.post(ASK, json={"email": ANN["email"]}).status_code == 200
    join_senders()
    (message,) = delivered
    parsed = message_from_bytes(message.as_bytes(), policy=policy.default)
    known = {"From", "To", "Subject", "MIME-Version"}
    assert set(parsed.keys()) == known | {"Content-Type", "Content-Transfer-Encoding"}
    assert parsed["To"] == "ann@example.com"


@pytest.mark.parametrize(
    "email",
    [
        "ann@example.com\nBcc: eve@evil.test",
        "ann@example.com\r\nBcc: eve@evil.test",
        "ann\n@example.com",
        "ann@example.com, eve@evil.test",
        "ann@example.com,eve@evil.test",
        "ann@example.com;eve@evil.test",
        "<eve@evil.test> ann@example.com",
        "Eve <eve@evil.test>",
        '"eve@evil.test, "@example.com',
        "ann(eve@evil.test)@example.com",
    ],
)
def test_address_adds_no_header_and_no_receiver(
    app: Flask, delivered: list[Any], email: str
) -> None:
    client = app.test_client()
    body = assert_error(client.post(REGISTER, json={**ANN, "email": email}), 400)
    assert list(body["errors"]) == ["email"]
    client.post(ASK, json={"email": email})
    join_senders()
    assert delivered == []


@pytest.mark.parametrize("field", ["to", "subject"])
def test_line_end_in_a_header_is_refused(app: Flask, delivered: list[Any], field: str) -> None:
    fields = {"to": "ann@b.test", "subject": "Hello", "text": "Hello Ann"}
    fields[field] += "\nBcc: eve@evil.test"
    with app.app_context(), pytest.raises(ValueError, match="linefeed"):
        mail.send(**fields)
    join_senders()
    assert delivered == []
