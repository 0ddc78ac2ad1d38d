"""The routes of accounts and what tests send to them."""

from tests.conftest import PASSWORD

REGISTER, LOGIN, ME = "/api/auth/register", "/api/auth/login", "/api/auth/me"
REFRESH, LOGOUT, CHECK = "/api/auth/refresh", "/api/auth/logout", "/api/auth/check"
ANN = {"email": "ann@example.com", "password": PASSWORD}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
