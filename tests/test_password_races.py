"""A password that changes while somebody signs in by the old one."""

import threading
from typing import Any

import bcrypt
import pytest

from tests.accounts import ANN, LOGIN, ME, REGISTER, bearer
from tests.conftest import Account

CHANGE, CONFIRM = "/api/auth/password", "/api/auth/password-reset/confirm"
NEW = "a better horse"


@pytest.mark.parametrize("rounds", [4, 5], ids=["same cost", "another cost"])
@pytest.mark.parametrize("way", ["login", "change"])
def test_password_reset_during_a_check_wins(
    make_app: Any, monkeypatch: Any, rounds: int, way: str
) -> None:
    app, busy = make_app(), make_app(BCRYPT_ROUNDS=rounds)
    ann = Account(app.test_client().post(REGISTER, json=ANN).json, ANN["email"])
    check = bcrypt.checkpw
    link = app.test_cli_runner().invoke(args=["user", "reset-password", ann.email]).output
    body = {"token": link.strip().partition("=")[2], "password": NEW}

    def reset() -> None:
        assert app.test_client().post(CONFIRM, json=body).status_code == 200

    def slow(secret: bytes, stored: bytes) -> bool:
        monkeypatch.setattr(bcrypt, "checkpw", check)
        thread = threading.Thread(target=reset)
        thread.start()
        thread.join()
        return check(secret, stored)

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    client = busy.test_client(use_cookies=False)
    if way == "login":
        response = client.post(LOGIN, json=ANN)
        assert response.status_code == 401
    else:
        words = {"currentPassword": ANN["password"], "newPassword": "thief's horse"}
        assert client.post(CHANGE, json=words, headers=ann.headers).status_code == 400
    assert client.get(ME, headers=bearer(ann.token)).status_code == 401
    for password, status in ((ANN["password"], 401), ("thief's horse", 401), (NEW, 200)):
        assert client.post(LOGIN, json={**ANN, "password": password}).status_code == status
