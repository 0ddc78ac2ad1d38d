"""Waiting for sockets and for each other: on threads, and on gevent where it is patched in.

Waiting before reading, instead of reading until nothing is there, lets a busy sender's neighbours
have their turn on gevent.
"""

import _thread
import select
import sys
from contextlib import suppress

monkey = sys.modules.get("gevent.monkey")

# The interpreter's own lock, a tenth of the price of gevent's (bench/): for those who hold it only
# where no other greenlet can have its turn.
Lock = monkey.get_original("_thread", "allocate_lock") if monkey else _thread.allocate_lock

if monkey is not None and monkey.is_module_patched("socket"):
    from gevent import socket as gevent_socket

    def wait_readable(fd: int) -> None:
        """Return when there is something to read, or the peer is gone."""
        gevent_socket.wait_read(fd)

    def wait_writable(fd: int, timeout: float) -> None:
        """Return when the socket takes bytes again, or after `timeout` seconds."""
        with suppress(TimeoutError):
            gevent_socket.wait_write(fd, timeout=timeout)

elif hasattr(select, "poll"):

    def wait_readable(fd: int) -> None:
        """Return when there is something to read, or the peer is gone."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll()

    def wait_writable(fd: int, timeout: float) -> None:
        """Return when the socket takes bytes again, or after `timeout` seconds."""
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        poll.poll(timeout * 1000)

else:  # Windows has no poll

    def wait_readable(fd: int) -> None:
        """Return when there is something to read, or the peer is gone."""
        select.select([fd], [], [])

    def wait_writable(fd: int, timeout: float) -> None:
        """Return when the socket takes bytes again, or after `timeout` seconds."""
        select.select([], [fd], [], timeout)
