"""Sessions of the local page: a one-time link opens one, a cookie keeps it, and a token goes with each request.

A cookie goes to every port of its host: any other server on this machine that the browser visits reads it and could
send it here. So it counts only with the token, which this port's own page keeps and nobody else is sent. A key in a
link would lie in the browser's history for good: the link carries a code that counts once, the token opens nothing
without the cookie, and both live as long as the daemon.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

CODE_S = 600.0
"""So long a link waits to be opened."""

CODES_MAX = 16
"""Links that wait; the oldest go first."""

SESSIONS_MAX = 32
"""Browsers that are let in; the oldest go first."""

TOKEN_HEADER = "x-openledger-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser that was let in."""

    cookie: str = field(repr=False)
    token: str = field(repr=False)


class Sessions:
    """Who may use the page; forgotten when the daemon ends."""

    def __init__(self, *, port: int, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._codes: dict[str, float] = {}  # code → until when it counts
        self._sessions: dict[str, Session] = {}
        self.cookie_name = f"openledger-{port}"  # browsers share cookies among the ports of one host

    def draw_code(self) -> str:
        """Make the code of a link, which counts once."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = self._now_s() + CODE_S
        _drop_oldest(self._codes, CODES_MAX)
        return code

    def open(self, code: str) -> Session | None:
        """Let a browser in for a code; None if it was used, is too old, or never was one."""
        good_until_s = self._codes.pop(code, None)
        if good_until_s is None or good_until_s < self._now_s():
            return None
        session = Session(cookie=secrets.token_urlsafe(32), token=secrets.token_urlsafe(32))
        self._sessions[session.cookie] = session
        _drop_oldest(self._sessions, SESSIONS_MAX)
        return session

    def find(self, cookie_header: str) -> Session | None:
        """The session of a request, by its Cookie header."""
        # Other local programs' cookies stand in the same header, in whatever form: they must shut nobody out.
        for part in cookie_header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie_name and (session := self._sessions.get(value)):
                return session
        return None

    def cookie_line(self, session: Session) -> str:
        """The Set-Cookie header of a session: out of scripts' reach, and never sent along from another site."""
        return f"{self.cookie_name}={session.cookie}; Path=/; HttpOnly; SameSite=Strict"


def has_token(session: Session, given: str) -> bool:
    """Whether a request comes with the session's own token."""
    return secrets.compare_digest(given.encode(), session.token.encode())


def _drop_oldest(kept: dict[str, float] | dict[str, Session], at_most: int) -> None:
    while len(kept) > at_most:
        kept.pop(next(iter(kept)))
