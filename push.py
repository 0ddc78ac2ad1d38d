"""Web Push (RFC 8030, 8291, 8292): notifications for browsers without an open page.

Off without VAPID_PRIVATE_KEY and VAPID_SUBJECT. Sent in the background, each once; what a push
service does not take is logged. Where to send is an address that users give us, so it must be
https, and lead to a public host: names are looked up here, and what was checked is connected to.
"""

import base64
import http.client
import json
import logging
import queue
import re
import socket
import ssl
import threading
import time
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask, current_app
from sqlalchemy import delete, select

from models import PushSubscription, db

log = logging.getLogger(__name__)

PORT = 443
SECONDS = 10.0  # how long a push service may take to answer
TRIED = 2  # addresses of one host
TTL = 86_400  # seconds that it keeps a notification for a browser that is off
THREADS = 4
MAX_WAITING = 1000  # notifications; more are dropped
SIZES = {"title": 500, "message": 2000, "link": 1000}  # bytes: 4096 are all a service takes
GONE = (404, 410)
TLS = ssl.create_default_context()
NAT64 = ip_network("64:ff9b::/96")  # IPv4 as hosts without any see it
LOCK = threading.Lock()
# Lower case, as browsers write it; no port, user or bare address.
ENDPOINT = re.compile(r'https://((?:[a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{0,62})(/[!"$-~]*)', re.ASCII)


class NotPublic(Exception):
    """This host is not one of the public internet."""


# Keys


def is_set_up() -> bool:
    """Whether this server pushes."""
    return bool(current_app.config["VAPID_PRIVATE_KEY"] and current_app.config["VAPID_SUBJECT"])


def public_key() -> str:
    """What a browser needs to subscribe (`applicationServerKey`)."""
    return public_key_of(current_app.config["VAPID_PRIVATE_KEY"])


@cache
def public_key_of(private: str) -> str:
    """The public key, an uncompressed point, of a private one; both in base64url."""
    number = int.from_bytes(decode(private))
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    return encode(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def encode(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Reads base64url, padded or not; raises ValueError."""
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", True)


# What browsers send


def check_endpoint(url: str) -> str:
    """`url`, if it may be that of a push service; raises ValueError."""
    if len(url) > 2000 or not ENDPOINT.fullmatch(url):
        raise ValueError("must be an https address of a public host")
    return url


def check_point(text: str) -> str:
    """The public key of a browser, a point of P-256, without padding; raises ValueError."""
    try:
        point = decode(text)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise ValueError("is not a public key") from None
    if len(point) != 65:
        raise ValueError("is not a public key")
    return encode(point)


def check_auth(text: str) -> str:
    """The secret of a browser, 16 bytes, without padding; raises ValueError."""
    try:
        secret = decode(text)
    except ValueError:
        secret = b""
    if len(secret) != 16:
        raise ValueError("is not a secret of 16 bytes")
    return encode(secret)


# The background


class Pusher:
    """The threads of one process that send, and what waits for them."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.waiting: queue.Queue[tuple[int, str]] = queue.Queue(MAX_WAITING)
        for number in range(THREADS):
            threading.Thread(target=self.loop, name=f"push {number}", daemon=True).start()

    def loop(self) -> None:
        """Send what waits, for ever."""
        while True:
            user_id, text = self.waiting.get()
            try:
                with self.app.app_context():
                    deliver(user_id, text)
            except Exception:
                log.exception("push failed")
            finally:
                self.waiting.task_done()


def send(user_id: int, facts: dict[str, Any]) -> None:
    """Push a notification, given as its dict, to the browsers of a user; raises nothing."""
    try:
        if is_set_up():
            pusher().waiting.put_nowait((user_id, payload_of(facts)))
    except queue.Full:
        log.warning("push: too many notifications are waiting, one is dropped")
    except Exception:  # the commit that told us is done, whatever is wrong here
        log.exception("push failed")


def pusher() -> Pusher:
    """That of the current app, made with its first notification: threads do not survive a fork."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    with LOCK:
        if "pusher" not in app.extensions:
            app.extensions["pusher"] = Pusher(app)
    found: Pusher = app.extensions["pusher"]
    return found


def payload_of(facts: dict[str, Any]) -> str:
    """What the service worker reads: the notification, its texts cut to what fits."""
    shown = {name: facts[name] for name in ("id", "category", "createdAt")}
    shown |= {name: cut(facts[name], size) for name, size in SIZES.items()}
    if shown["link"] != facts["link"]:
        shown["link"] = ""  # half a link leads nowhere
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def cut(text: str, size: int) -> str:
    """The beginning of a text that takes `size` bytes at most as JSON."""
    text = text[:size]
    while len(json.dumps(text, ensure_ascii=False).encode()) > size:
        text = text[: len(text) * 3 // 4]
    return text


def deliver(user_id: int, text: str) -> None:
    """Send a text to all browsers of a user, and forget those that are no more."""
    columns = (PushSubscription.id, PushSubscription.endpoint, PushSubscription.p256dh)
    mine = PushSubscription.user_id == user_id
    browsers = select(*columns, PushSubscription.auth).where(mine).order_by(PushSubscription.id)
    rows = db.session.execute(browsers).all()
    db.session.remove()  # no session is held while push services answer
    gone = [row.id for row in rows if not is_taken(row, text)]
    if gone:
        db.session.execute(delete(PushSubscription).where(PushSubscription.id.in_(gone)))
        db.session.commit()


def is_taken(row: Any, text: str) -> bool:
    """Send a text to one browser; False when its subscription is good for nothing any more."""
    # Here: it is slow to load, and few need it.
    from pywebpush import Vapid, WebPushException, webpush  # type: ignore[import-untyped]

    keys = {"p256dh": row.p256dh, "auth": row.auth}
    key = Vapid.from_string(current_app.config["VAPID_PRIVATE_KEY"])
    claims = {"sub": current_app.config["VAPID_SUBJECT"]}
    host = row.endpoint.split("/")[2]  # the rest of the address is a secret
    info = {"endpoint": row.endpoint, "keys": keys}
    try:
        webpush(info, text, key, claims, ttl=TTL, requests_session=GuardedSession())
    except NotPublic:
        log.warning("push: %s is not a public host", host)
        return False
    except WebPushException as error:
        if error.status_code in GONE:
            return False
        log.warning("push: %s answered %s", host, error.status_code)
    except (OSError, ValueError, http.client.HTTPException) as error:
        log.warning("push: %s did not answer: %s", host, error)
    return True


# The way out


class Answer(NamedTuple):
    """What the library reads of a response. Its body is not even received."""

    status_code: int
    reason: str
    text: str = ""
    headers: Any = None


class GuardedSession:
    """In place of the session of `requests`, which follows redirects and looks names up itself."""

    def post(self, url: str, data: bytes, headers: dict[str, str], timeout: Any) -> Answer:
        """POST to a public host within SECONDS; raises NotPublic, OSError and HTTPException."""
        found = ENDPOINT.fullmatch(url)
        if found is None:
            raise NotPublic
        connection = GuardedConnection(found[1], PORT, timeout=SECONDS, context=TLS)
        watchdog = threading.Timer(SECONDS, connection.cut)  # timeouts are for each read alone
        watchdog.start()
        try:
            connection.request("POST", found[2], data, headers)
            response = connection.getresponse()
            return Answer(response.status, response.reason)
        finally:
            watchdog.cancel()
            connection.close()


class GuardedConnection(http.client.HTTPSConnection):
    """Connects to addresses that were checked, so that no name can change in between."""

    def connect(self) -> None:
        """Connect to the first address that answers; raises NotPublic and OSError."""
        deadline = time.monotonic() + SECONDS
        *others, last = public_addresses(self.host)[:TRIED]
        for address in others:
            try:
                self.open(address, SECONDS / TRIED)
                return
            except OSError:
                continue
        self.open(last, max(1.0, deadline - time.monotonic()))

    def open(self, address: str, seconds: float) -> None:
        """Connect to one address as this host."""
        plain = socket.create_connection((address, PORT), seconds)
        try:
            self.sock = TLS.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def cut(self) -> None:
        """Time is up: whoever reads now reads the end."""
        try:
            if self.sock:
                self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was over already


def public_addresses(host: str) -> list[str]:
    """The addresses of `host`; raises NotPublic when one is not of the public internet."""
    found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(is_public(address) for address in addresses):
        raise NotPublic
    return addresses


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet, and not a way round to one that is not."""
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        address = embedded or address
    return address.is_global and not address.is_multicast
