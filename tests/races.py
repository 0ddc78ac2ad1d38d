"""Others who act at the worst moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


def before_lock(monkeypatch: pytest.MonkeyPatch, model: Any, work: Callable[[], Any]) -> None:
    """Let another caller do something just before the next request locks its row of `model`."""
    lock = model.lock

    def be_late(row: Any) -> bool:
        monkeypatch.setattr(model, "lock", lock)
        with ThreadPoolExecutor(1) as pool:  # a context of its own
            pool.submit(work).result(10)
        done: bool = lock(row)
        return done

    monkeypatch.setattr(model, "lock", be_late)
