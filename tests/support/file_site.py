"""A server on this machine that behaves as servers do: it breaks off, does not know ranges, or serves other bytes."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from openledger_node.models.fetch import FileLink


@dataclass
class Site:
    """What the server serves, how it misbehaves, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    honours_ranges: bool = True
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request

    def link(self, name: str, content: bytes) -> FileLink:
        self.files[f"/{name}"] = content
        return FileLink(url=f"{self.url}/{name}", sha256=hashlib.sha256(content).hexdigest())


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.site.asked.append(wanted)
        content = self.site.files.get(self.path)
        if content is None:
            self.answer(404, b"")
        elif wanted is None or not self.site.honours_ranges:
            self.answer(200, content)
        elif (first := int(wanted.removeprefix("bytes=").removesuffix("-"))) >= len(content):
            self.answer(416, b"")
        else:
            self.answer(206, content[first:])

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.site.cuts.pop(0)] if self.site.cuts else body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve_site() -> Iterator[Site]:
    """Serve a site until the block ends."""
    served = Site()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": served})) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield served
        server.shutdown()
        thread.join()
