"""Waiting in tests for what happens on another thread."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object]) -> None:
    """Return once it holds; fails after 10 seconds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
