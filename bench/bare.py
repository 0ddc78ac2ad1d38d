"""The least a relay in Python can do: one plain loop of `send`, nothing checked, nothing stored.

Usage: bare.py PORT. It answers what load.c sends and nothing else; its frames have Wharf's size.
"""

import base64
import hashlib
import selectors
import socket
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WORDS = b'"id":1,"roomId":"bench 0","userId":1,"userName":"Bench"'
TIMES = b'"createdAt":"2000-01-01T00:00:00.000Z","room_id":"bench 0","user_id":1'
HEAD = b'{"type":"chat-message","roomId":"bench 0","message":{' + WORDS + b',"content":"'
TAIL = b'",' + TIMES + b',"created_at":"2000-01-01T00:00:00.000Z"},"seq":1}'


def frame(payload: bytes) -> bytes:
    """A text frame of at most 64 KB."""
    size = len(payload)
    head = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return b"\x81" + head + payload


def unmask(data: bytes) -> bytes:
    """The payload of one whole frame of a client."""
    start = 2 if data[1] & 0x7F < 126 else 4
    key, payload = data[start : start + 4], data[start + 4 :]
    mask = (key * (len(payload) // 4 + 1))[: len(payload)]
    both = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return both.to_bytes(len(payload), "little")


def shake_hands(sock: socket.socket) -> bool:
    """Answer the upgrade; false when the client only looked whether we are there."""
    request = sock.recv(4096)
    if not request:
        return False
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return True


def serve(port: int) -> None:
    """Relay what one client sends to all, until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    room: list[socket.socket] = []
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                if shake_hands(client):
                    selector.register(client, selectors.EVENT_READ)
                continue
            sock: socket.socket = key.fileobj  # type: ignore[assignment]
            try:
                data = sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:  # the load client ends all its connections at once
                return
            text = unmask(data)
            if b"join-room" in text:
                room.append(sock)
                sock.send(frame(b'{"type":"user-joined"}'))
                continue
            content = text.partition(b'"content":"')[2].partition(b'"')[0]
            told = frame(HEAD + content + TAIL)
            for member in room:
                member.send(told)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
