"""A proxy that cuts connections once so many bytes of a client have gone through it."""

import socket
import threading
from contextlib import suppress


class CuttingProxy:
    """Passes bytes on to a port of this machine; cuts where `cuts` say, counting from the first."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self.target, self.cuts, self.passed = port, list(cuts), 0
        self.lock, self.open, self.threads = threading.Lock(), True, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.start(self.accept)

    def start(self, work: object, *words: object) -> None:
        """Do something in a thread of its own."""
        thread = threading.Thread(target=work, args=words)  # type: ignore[arg-type]
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        """Take connections until the end."""
        with suppress(OSError):
            while self.open:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self.pairs.append((near, far))
                self.start(self.pass_on, near, far, True)
                self.start(self.pass_on, far, near, False)

    def pass_on(self, source: socket.socket, target: socket.socket, is_counted: bool) -> None:
        """Copy one way until one side leaves, or it is time for a cut."""
        with suppress(OSError):
            while data := source.recv(65536):
                if is_counted and (left := self.count(len(data))) is not None:
                    target.sendall(data[:left])
                    break
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def count(self, size: int) -> int | None:
        """How many of these bytes go through before the cut; None when all do."""
        with self.lock:
            before, self.passed = self.passed, self.passed + size
            if not self.cuts or self.passed < self.cuts[0]:
                return None
            return max(0, self.cuts.pop(0) - before)

    def close(self) -> None:
        """Leave no thread and no socket."""
        self.open = False
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for pair in self.pairs:
            for one in pair:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for pair in self.pairs:
            for one in pair:
                one.close()
