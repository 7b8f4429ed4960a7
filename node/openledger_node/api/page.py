"""The local page: its files, read once and served from memory, and the door through which a browser gets in."""

import gzip
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

# ---- Sessions of the local page: a one-time link opens one, a cookie keeps it, and a token goes with each request.
#
# A cookie goes to every port of its host: any other server on this machine that the browser visits reads it and could
# send it here. So it counts only with the token, which this port's own page keeps and nobody else is sent. A key in a
# link would lie in the browser's history for good: the link carries a code that counts once, the token opens nothing
# without the cookie, and both live as long as the daemon.

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


# ---- page

TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked anew each time; the ETag makes that cheap, and an update is seen at once
}

OPEN_PATH, SESSION_PATH = "/open", "/session"
TOKEN_MARK = "t="
"""What the page knows its token by, behind the # of its address."""

USED_UP = (
    "This link was used or is too old: `openledger-node status` prints a new one. "
    "Each opens the page once, within ten minutes."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file of the page."""

    content: bytes
    zipped: bytes
    type: str
    etag: str


class Page:
    """All that a browser gets before it asks the node anything."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._files = read_files()

    @property
    def open_paths(self) -> frozenset[str]:
        """What is served without a session: the empty shell, and the way in."""
        return frozenset({OPEN_PATH, *self._files})

    @property
    def screens(self) -> list[str]:
        """The screens that there are: the navigation shows no others."""
        names = (path.removeprefix("/screens/") for path in self._files if path.startswith("/screens/"))
        return sorted(name.removesuffix(".js") for name in names)

    def add_to(self, app: FastAPI) -> None:
        """Hang the page on the API's routes; no program asks for these, so no schema names them."""

        @app.get(OPEN_PATH, include_in_schema=False, response_model=None)
        async def open_page(code: str = "") -> Response:
            """Let a browser in, once for each code; its token goes behind the #, which a browser sends to nobody."""
            session = self.sessions.open(code)
            if session is None:
                return Response(USED_UP, status_code=403, media_type="text/plain", headers=dict(HEADERS))
            headers = {**HEADERS, "Set-Cookie": self.sessions.cookie_line(session), "Cache-Control": "no-store"}
            return RedirectResponse(f"/#{TOKEN_MARK}{session.token}", status_code=303, headers=headers)

        @app.get(SESSION_PATH, include_in_schema=False)
        async def show_session() -> JSONResponse:
            """What the page needs before it draws anything: whether it is let in, and which screens there are."""
            return JSONResponse({"screens": self.screens}, headers={"Cache-Control": "no-store"})

        for path, file in self._files.items():
            app.router.add_route(path, _endpoint(file), methods=["GET"], include_in_schema=False)

    def add_links(self, operator: FastAPI, url: str) -> None:
        """Hang what makes a link on the operator's routes."""

        @operator.post("/open")
        async def draw_link() -> dict[str, Any]:
            """A link that opens the page at `url` in one browser, once."""
            return {"url": self.draw_link(url), "valid_s": CODE_S}

    def draw_link(self, url: str) -> str:
        """What to open in a browser, once."""
        return f"{url}{OPEN_PATH}?code={quote(self.sessions.draw_code())}"


def read_files() -> dict[str, PageFile]:
    """The page's files by their paths on the server."""
    found = dict(_walk(files("openledger_node.api") / "web", ""))
    return {"/": found.pop("/index.html"), **found}


def _endpoint(file: PageFile) -> Callable[[Request], Awaitable[Response]]:
    async def serve(http: Request) -> Response:
        headers = {**HEADERS, "ETag": file.etag, "Vary": "Accept-Encoding"}
        if file.etag in http.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" not in http.headers.get("accept-encoding", ""):
            return Response(file.content, headers=headers, media_type=file.type)
        return Response(file.zipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.type)

    return serve


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        below = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, below)
        elif kind := TYPES.get(entry.name.rpartition(".")[2]):
            yield below, _read(entry.read_bytes(), kind)


def _read(content: bytes, kind: str) -> PageFile:
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'  # weak: it names both forms
    return PageFile(content=content, zipped=gzip.compress(content, mtime=0), type=kind, etag=etag)
