"""A line to a server that can be cut, stalled and healed."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Link:
    """One connection through the proxy: the client's end is near, the server's far."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.is_dead = False
        self.seen = 0  # marks

    def reset(self) -> None:
        """End it as a crash would: the ends are told with a reset, in the middle of anything."""
        self.is_dead = True
        for one in (self.near, self.far):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RD)  # wakes who reads it, who then closes it

    def close(self) -> None:
        """End it as the peers do."""
        for one in (self.near, self.far):
            if not self.is_dead:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            one.close()


class Proxy:
    """Passes bytes between clients and a server."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._change = threading.Condition()  # guards what follows
        self._stalled = False
        self.struck = threading.Event()  # what was to happen after some marks has happened
        self._marks: tuple[bytes, ...] = ()
        self._deed = self.reset
        self._links: list[Link] = []
        self._door = self._bind(0)
        self.port: int = self._door.getsockname()[1]
        self._listen()

    def cut(self) -> None:
        """Reset all connections, refuse new ones."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._door, self._is_cut = self._bind(self.port), True
        self.reset()

    def reset(self) -> None:
        """Reset all connections; new ones are welcome."""
        with self._change:
            links, self._links = self._links, []
            for link in links:
                link.reset()
            self._change.notify_all()

    def stall(self) -> None:
        """Hold all bytes from now on, and close nothing: nobody is told that the line is dead."""
        with self._change:
            self._stalled = True

    def heal(self) -> None:
        """Be a good line again; bytes that were held arrive late."""
        with self._change:
            self._stalled = False
            self._change.notify_all()
        if self._is_cut:
            self._listen()

    def reset_after(self, *marks: bytes) -> None:
        """Pass on what a client sends up to the last mark; the answer to that never arrives.

        The marks are seen one after the other on one connection.
        """
        self._arm(marks, self.reset)

    def stall_after(self, *marks: bytes) -> None:
        """The same, but nothing is closed."""
        self._arm(marks, self.stall)

    def _arm(self, marks: tuple[bytes, ...], deed: Callable[[], None]) -> None:
        self.struck.clear()
        self._marks, self._deed = marks, deed

    def close(self) -> None:
        """End all."""
        self.cut()
        self._door.close()

    @staticmethod
    def _bind(port: int) -> socket.socket:
        """Keeps a port; while nobody listens connections are refused."""
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", port))
        return door

    def _listen(self) -> None:
        self._is_cut = False
        self._door.listen()
        threading.Thread(target=self._accept, args=(self._door,), daemon=True).start()

    def _accept(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = door.accept()[0]
                try:
                    link = Link(near, socket.create_connection(self._server))
                except OSError:  # the server itself is down
                    near.close()
                    continue
                self._links.append(link)
                for ends in ((link.near, link.far), (link.far, link.near)):
                    threading.Thread(target=self._pump, args=(link, *ends), daemon=True).start()

    def _pump(self, link: Link, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._look_at(data, link, source)
                with self._change:
                    self._change.wait_for(lambda: link.is_dead or not self._stalled)
                if link.is_dead:
                    break
                target.sendall(data)
        link.close()

    def _look_at(self, data: bytes, link: Link, source: socket.socket) -> None:
        """Find the marks in what a client sends; when the server answers the last, do the deed."""
        if source is link.near:
            if self._marks[link.seen : link.seen + 1] and self._marks[link.seen] in data:
                link.seen += 1
        elif self._marks and link.seen == len(self._marks):
            self._marks = ()
            self._deed()
            self.struck.set()
