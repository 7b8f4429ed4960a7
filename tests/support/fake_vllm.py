"""What a vLLM server says over HTTP, without a model: each token is a hash of what came before it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

END_ID = 0


@dataclass
class Behaviour:
    """How the server is, and what it has seen."""

    served: str = "base"
    version: str = "0.32.0"
    key: str | None = None
    loads_adapters: bool = True
    refuses: tuple[int, str] | None = None  # status and message, to each completion
    refuses_adapters: str | None = None
    breaks_after: int | None = None  # events of an answer, and then the line is cut
    fails_after: int | None = None  # events of an answer, and then it says that it failed
    holds_after: int | None = None  # events of an answer, and then nothing until the other side hangs up
    ends_after: int | None = None  # tokens, and then an end token
    slow_above: int | None = None  # tokens of a prompt; a longer one waits for its first token until `released`
    released: threading.Event = field(default_factory=threading.Event)
    adapters: dict[str, str] = field(default_factory=dict)
    completions: list[dict[str, Any]] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)


@contextmanager
def fake_vllm(behaviour: Behaviour) -> Iterator[str]:
    """Serve on a free port of loopback; yields the URL."""

    class Handler(_Handler):
        pass

    Handler.behaviour = behaviour
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour

    def handle(self) -> None:
        """Answer until the other side hangs up, in the middle of an answer or behind it."""
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        routes = {"/health": {}, "/version": {"version": self.behaviour.version}, "/v1/models": self._models()}
        self._answer(200, routes[self.path]) if self._may_pass() else self._answer(401, {"error": "Unauthorized"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may_pass():
            self._answer(401, {"error": "Unauthorized"})
        elif self.path == "/v1/completions":
            self._complete(body)
        elif not self.behaviour.loads_adapters:
            self._answer(404, {"detail": "Not Found"})
        elif self.path == "/v1/load_lora_adapter":
            self._load(body)
        else:
            known = self.behaviour.adapters.pop(body["lora_name"], None)
            self._answer(200 if known else 404, {})

    def _may_pass(self) -> bool:
        key = self.behaviour.key
        return not key or not self.path.startswith("/v1") or self.headers["Authorization"] == f"Bearer {key}"

    def _models(self) -> dict[str, Any]:
        base = {"id": self.behaviour.served, "root": "/models/x", "parent": None, "max_model_len": 256}
        adapters = [{"id": name, "parent": self.behaviour.served} for name in self.behaviour.adapters]
        return {"data": [base, *adapters]}

    def _load(self, body: dict[str, Any]) -> None:
        if not body["lora_name"]:
            self._refuse(400, "Both 'lora_name' and 'lora_path' must be provided.")
        elif self.behaviour.refuses_adapters:
            self._refuse(500, f"Traceback\nValueError: {self.behaviour.refuses_adapters}")
        elif not Path(body["lora_path"], "adapter_config.json").is_file():
            self._refuse(404, f"No adapter found for {body['lora_path']}")
        else:
            self.behaviour.adapters[body["lora_name"]] = body["lora_path"]
            self._answer(200, {})

    def _complete(self, body: dict[str, Any]) -> None:
        self.behaviour.completions.append(body)
        if self.behaviour.refuses:
            self._refuse(*self.behaviour.refuses)
        elif body["model"] not in (self.behaviour.served, *self.behaviour.adapters):
            self._refuse(404, f"The model `{body['model']}` does not exist.")
        else:
            self._stream(body)

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.behaviour.slow_above is not None and len(body["prompt"]) > self.behaviour.slow_above:
            assert self.behaviour.released.wait(30)
        for number, choice in enumerate(self._choices(body)):
            if number == self.behaviour.breaks_after:
                self.close_connection = True
                return
            if number == self.behaviour.fails_after:
                self._event(json.dumps({"error": {"message": "EngineCore died"}}))
                return
            if number == self.behaviour.holds_after:
                assert self.connection.recv(1) == b"", "whoever asked hangs up"
                self.behaviour.aborted.set()
                self.close_connection = True
                return
            self._event(json.dumps({"choices": [choice]}))
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _choices(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One token, then three in one event, and so on, as when vLLM is ahead of its reader."""
        tokens = list(self._tokens(body))
        size = 1
        while tokens:
            ids, tokens, size = tokens[:size], tokens[size:], 4 - size
            yield {"index": 0, "text": "", "token_ids": ids, "logprobs": _logprobs(ids, body)}

    def _tokens(self, body: dict[str, Any]) -> Iterator[int]:
        ids = list(body["prompt"])
        seed = body["seed"] if body["temperature"] else 0
        for number in range(body["max_tokens"]):
            token = END_ID if number == self.behaviour.ends_after else _token(body["model"], seed, ids)
            yield token
            if token in body["stop_token_ids"]:
                return
            ids.append(token)

    def _event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message, "code": status}})

    def _answer(self, status: int, fields: object) -> None:
        data = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _token(model: str, seed: int, ids: list[int]) -> int:
    return 1 + hashlib.sha256(repr((model, seed, ids)).encode()).digest()[0]


def _logprobs(ids: list[int], body: dict[str, Any]) -> dict[str, Any] | None:
    if body.get("logprobs") is None:
        return None
    top = [{f"token_id:{token}": -3.0, "token_id:258": -0.5, "token_id:259": -1.0} for token in ids]
    return {
        "token_logprobs": [-3.0 for _ in ids],
        "tokens": [f"token_id:{token}" for token in ids],
        "top_logprobs": top,
    }
