"""A Hugging Face hub on this machine, over HTTP: repositories of a few files, and a list of what was asked for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


@dataclass
class FakeHub:
    """Repositories by name; `claimed` are the sizes that the list of files gives for files that are not there."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    claimed: dict[str, dict[str, int]] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)  # files whose content was sent

    @property
    def environment(self) -> dict[str, str]:
        """For a command that shall ask this hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def listing(self, repository: str) -> list[dict[str, object]]:
        sizes = {name: len(content) for name, content in self.files[repository].items()}
        sizes |= self.claimed.get(repository, {})
        return [
            {"rfilename": name, "size": size, "type": "file", "path": name, "oid": "o"}
            for name, size in sizes.items()
        ]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve a hub until the end of the block."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(is_head=True)

        def do_GET(self) -> None:
            self.answer(is_head=False)

        def answer(self, *, is_head: bool) -> None:
            path = self.path.partition("?")[0].strip("/").split("/")
            if path[:2] == ["api", "models"] and "/".join(path[2:4]) in hub.files:
                repository = "/".join(path[2:4])
                listed = hub.listing(repository)
                is_tree = "tree" in path
                info = {
                    "id": repository,
                    "sha": COMMIT,
                    "siblings": listed,
                    "private": False,
                    "downloads": 0,
                    "tags": [],
                }
                self.send(200, json.dumps(listed if is_tree else info).encode(), is_head=is_head)
                return
            content = hub.files.get("/".join(path[:2]), {}).get(path[-1])
            if content is None or "resolve" not in path:
                self.send(404, b"{}", is_head=is_head)
                return
            if not is_head:
                hub.fetched.append(path[-1])
            self.send(200, content, is_head=is_head)

        def send(self, status: int, content: bytes, *, is_head: bool) -> None:
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not is_head:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
