"""The local page: its files, read once and served from memory, and the door through which a browser gets in."""

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from .session import CODE_S, Sessions

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
