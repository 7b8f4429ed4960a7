"""A control socket whose daemon has met strangers: a real one's answers, with their texts behind each text."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import httpx
from support.pages import PEER

KEPT = re.compile(r"0x[0-9a-fA-F]*|-?[\d.]+|\d{4}-\d\d-\d\dT.*|openledger\.\w+/\d+|https?://[\w.:/?=&-]+|")
"""Numbers, hashes, times, schemas and addresses of ours: their form is checked where they come in."""

STATES = frozenset({"state", "chain", "fate", "role", "finish_reason", "token", "url", "key_file", "home"})
"""Fields that hold one of a few words of ours, or places on this machine."""


CANNED: dict[str, Any] = {
    "/money/peers": {"peer_id": "16Uiu2HAm", "addresses": [PEER["address"]], "peers": [PEER], "lost_bids": []},
    "/money/pull": {"adapter": "harbour", "bytes": 9, "duration_s": 1.0, "from_peer": "16Uiu2HAm"},
}
"""What only a node among others would say."""


@contextmanager
def poisoned_socket(real: Path, poisoned: Path, text: str) -> Iterator[None]:
    """Answer at `poisoned` what the daemon at `real` says, but that each text has `text` behind it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return ""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path in CANNED:
                self._say(200, CANNED[self.path])
                return
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(real)), timeout=30) as client:
                headers = {"Content-Type": "application/json"}
                heard = client.request(self.command, f"http://node{self.path}", content=body, headers=headers)
            self._say(heard.status_code, heard.json())

        def _say(self, status: int, answer: Any) -> None:
            said = json.dumps(poison(answer, text)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    with ThreadingUnixStreamServer(str(poisoned), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def poison(answer: Any, text: str, name: str = "") -> Any:
    """Put `text` behind every string that is not a number, hash, time, or word of ours."""
    match answer:
        case dict():
            return {key: poison(value, text, key) for key, value in answer.items()}
        case list():
            return [poison(value, text, name) for value in answer]
        case str() if name not in STATES and not KEPT.fullmatch(answer):
            return answer + text
    return answer
