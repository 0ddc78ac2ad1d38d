"""Wait until a socket can be read or written: on threads, and on gevent where it is patched in.

Waiting before reading, instead of reading until nothing is there, lets a busy sender's neighbours
have their turn on gevent.
"""

import select
import sys

monkey = sys.modules.get("gevent.monkey")

if monkey is not None and monkey.is_module_patched("socket"):
    from gevent import socket as gevent_socket

    def wait_readable(fd: int) -> None:
        """Return when there is something to read, or the peer is gone."""
        gevent_socket.wait_read(fd)

    def wait_writable(fd: int, timeout: float) -> bool:
        """Whether the socket took bytes again within `timeout` seconds."""
        try:
            gevent_socket.wait_write(fd, timeout=timeout)
        except TimeoutError:
            return False
        return True

elif hasattr(select, "poll"):

    def wait_readable(fd: int) -> None:
        """Return when there is something to read, or the peer is gone."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll()

    def wait_writable(fd: int, timeout: float) -> bool:
        """Whether the socket took bytes again within `timeout` seconds."""
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(timeout * 1000))

else:  # Windows has no poll

    def wait_readable(fd: int) -> None:
        """Return when there is something to read, or the peer is gone."""
        select.select([fd], [], [])

    def wait_writable(fd: int, timeout: float) -> bool:
        """Whether the socket took bytes again within `timeout` seconds."""
        return bool(select.select([], [fd], [], timeout)[1])
