"""The local page: its files, served from memory, and the sessions of its browsers."""

import gzip
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from ..home import write_private

# ---- Sessions: a one-time link opens a session, a cookie keeps it, and each request carries a token.
#
# Browsers send a cookie to every port of its host, so another server on this machine could read it and use it here.
# Therefore the cookie is valid only together with a token that only this port's own page knows. A key in a link would
# stay in the browser's history, so the link carries a code that works once. The token is useless without the cookie,
# and both are valid only until the daemon stops. If the node starts again by itself, its page stays open.

CODE_S = 600.0
"""Time in which a link can be opened."""

CODES_MAX = 16
"""Unused links that stay valid; the oldest expire first."""

SESSIONS_MAX = 32
"""Open sessions; the oldest end first."""

TOKEN_HEADER = "x-openledger-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser's session."""

    cookie: str = field(repr=False)
    token: str = field(repr=False)


class Sessions:
    """The open sessions of the page, in memory."""

    def __init__(self, *, port: int, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._codes: dict[str, float] = {}  # code → its expiry
        self._sessions: dict[str, Session] = {}
        self.cookie_name = f"openledger-{port}"  # browsers share cookies among the ports of one host

    def draw_code(self) -> str:
        """Create the code of a link, which works once."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = self._now_s() + CODE_S
        _drop_oldest(self._codes, CODES_MAX)
        return code

    def open(self, code: str) -> Session | None:
        """Open a session for a code; None if the code was used, has expired, or never existed."""
        good_until_s = self._codes.pop(code, None)
        if good_until_s is None or good_until_s < self._now_s():
            return None
        session = Session(cookie=secrets.token_urlsafe(32), token=secrets.token_urlsafe(32))
        self._sessions[session.cookie] = session
        _drop_oldest(self._sessions, SESSIONS_MAX)
        return session

    def find(self, cookie_header: str) -> Session | None:
        """Find the session of a request by its Cookie header."""
        # The header also carries cookies of other local programs; malformed ones must not block our own.
        for part in cookie_header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie_name and (session := self._sessions.get(value)):
                return session
        return None

    def keep(self, file: Path) -> None:
        """Keep the sessions for a start that follows at once; without room for them, browsers need a new link."""
        pairs = [[each.cookie, each.token] for each in self._sessions.values()]
        with suppress(OSError):
            write_private(file, json.dumps(pairs), is_new=False)

    def take_up(self, file: Path) -> None:
        """Reopen the sessions that were kept, if any were."""
        with suppress(OSError, ValueError, TypeError):
            pairs = json.loads(file.read_text(encoding="utf-8"))
            self._sessions = {cookie: Session(cookie=cookie, token=token) for cookie, token in pairs}
        file.unlink(missing_ok=True)

    def cookie_line(self, session: Session) -> str:
        """The Set-Cookie header of a session: unreadable for scripts, and never sent from another site."""
        return f"{self.cookie_name}={session.cookie}; Path=/; HttpOnly; SameSite=Strict"


def has_token(session: Session, given: str) -> bool:
    """Return True if the given token is the session's own."""
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
    "Cache-Control": "no-cache",  # the ETag makes a check at each load cheap, and an update shows at once
}

OPEN_PATH, SESSION_PATH = "/open", "/session"
TOKEN_MARK = "t="
"""Prefix of the token behind the # of the page's address."""

USED_UP = (
    "This link was used or is too old. `openledger-node status` prints a new one. "
    "Each link opens the page once, within ten minutes."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file of the page."""

    content: bytes
    zipped: bytes
    type: str
    etag: str


class Page:
    """The page's files and the routes that open a session."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._files = read_files()

    @property
    def open_paths(self) -> frozenset[str]:
        """Paths without a session: the page's files, and the link that opens a session."""
        return frozenset({OPEN_PATH, *self._files})

    @property
    def screens(self) -> list[str]:
        """The names of the screens, which the navigation shows."""
        names = (path.removeprefix("/screens/") for path in self._files if path.startswith("/screens/"))
        return sorted(name.removesuffix(".js") for name in names)

    def add_to(self, app: FastAPI) -> None:
        """Add the page to the API, outside its schema since no program uses these routes."""

        @app.get(OPEN_PATH, include_in_schema=False, response_model=None)
        async def open_page(code: str = "") -> Response:
            """Open a session, once per code; the token goes behind the #, which browsers never send to a server."""
            session = self.sessions.open(code)
            if session is None:
                return Response(USED_UP, status_code=403, media_type="text/plain", headers=dict(HEADERS))
            headers = {**HEADERS, "Set-Cookie": self.sessions.cookie_line(session), "Cache-Control": "no-store"}
            return RedirectResponse(f"/#{TOKEN_MARK}{session.token}", status_code=303, headers=headers)

        @app.get(SESSION_PATH, include_in_schema=False)
        async def show_session() -> JSONResponse:
            """The page's first request: it checks the session and lists the screens."""
            return JSONResponse({"screens": self.screens}, headers={"Cache-Control": "no-store"})

        for path, file in self._files.items():
            app.router.add_route(path, _endpoint(file), methods=["GET"], include_in_schema=False)

    def add_links(self, operator: FastAPI, url: str) -> None:
        """Add the route that creates links to the control API."""

        @operator.post("/open")
        async def draw_link() -> dict[str, Any]:
            """A link that opens the page in one browser, once."""
            return {"url": self.draw_link(url), "valid_s": CODE_S}

    def draw_link(self, url: str) -> str:
        """Create a link that opens the page once."""
        return f"{url}{OPEN_PATH}?code={quote(self.sessions.draw_code())}"


def read_files() -> dict[str, PageFile]:
    """Read the page's files, by their paths on the server."""
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
            content = entry.read_bytes()
            yield below, _read(without_comments(content) if kind == TYPES["js"] else content, kind)


def without_comments(script: bytes) -> bytes:
    """A script without lines that are comments and without indentation, in as many lines.

    A browser loads a tenth less, and its messages still name the lines of the source.
    """
    lines = (line.strip() for line in script.decode().split("\n"))
    return "\n".join("" if line.startswith("//") else line for line in lines).encode()


def _read(content: bytes, kind: str) -> PageFile:
    etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'  # weak, since it names the plain and the compressed form
    return PageFile(content=content, zipped=gzip.compress(content, mtime=0), type=kind, etag=etag)
