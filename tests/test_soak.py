"""A short time of chaos; `make soak` makes it longer and larger."""

import os
import secrets

import pytest

from tests.soak import soak

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")

SECONDS, CLIENTS = 15, 100


def test_after_the_chaos_every_client_holds_what_is_stored_and_no_process_knows_any() -> None:
    figures: list[str] = []
    wrong = soak(SECONDS, CLIENTS, secrets.randbelow(10**6), figures.append)
    assert not wrong, "\n".join(figures + wrong[:20])
