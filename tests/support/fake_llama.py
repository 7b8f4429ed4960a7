#!/usr/bin/env -S python3 -I
"""What llama-server says over HTTP, without a model: each token is a hash of what came before it.

As a program it takes llama-server's flags and listens on a socket file, so the plug can start and end it.
"""

import hashlib
import json
import os
import signal
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VOCAB_SIZE = 260
END_ID = 0
HELD_BACK = 5
"""Every token that this divides is held back until the next one, as llama-server does within a character."""

HELP = """
--model FNAME   --ctx-size N   --parallel N   --threads N   --device DEV   --gpu-layers N   --host HOST
--cache-type-k TYPE   --cache-type-v TYPE   --kv-unified   --cache-ram N   --no-cache-idle-slots
--slot-prompt-similarity N   --no-slots   --no-webui   --no-context-shift   --fit on|off
--lora FNAME   path to LoRA adapter (use comma-separated values to load multiple adapters)
--lora-init-without-apply
"""


@dataclass
class Behaviour:
    """How the server is, and what it has seen."""

    model: str = "/models/model.gguf"
    num_slots: int = 8
    context: int = 1024
    key: str | None = None
    adapters: list[str] = field(default_factory=list)  # paths
    is_llama: bool = True
    refuses: tuple[int, str] | None = None  # status and message, to each completion
    breaks_after: int | None = None  # events of an answer, and then the line is cut
    fails_after: int | None = None  # events of an answer, and then it says that it failed
    holds_after: int | None = None  # events of an answer, and then nothing until the other side hangs up
    ends_after: int | None = None  # tokens, and then an end token
    slow_above: int | None = None  # tokens of a prompt; a longer one waits for its first token until `released`
    holds_back: bool = True
    shares: bool = False  # prompts of all requests, which it finds again
    released: threading.Event = field(default_factory=threading.Event)
    completions: list[dict[str, Any]] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)


@contextmanager
def fake_llama(behaviour: Behaviour) -> Iterator[str]:
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

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif not self._may_pass():
            self._answer(401, {"error": {"message": "Invalid API Key"}})
        elif not self.behaviour.is_llama:
            self._answer(404, {"detail": "Not Found"})
        else:
            routes = {"/props": self._props(), "/lora-adapters": self._adapters()}
            self._answer(200, routes[self.path])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_found = self.behaviour.shares and body["prompt"] in [each["prompt"] for each in self.behaviour.completions]
        self.behaviour.completions.append(body)
        if self.behaviour.refuses:
            status, message = self.behaviour.refuses
            self._answer(status, {"error": {"message": message, "code": status}})
        elif body["stream"]:
            self._stream(body)
        else:
            tokens = list(self._tokens(body))
            whole = {"stop": True, "tokens": tokens, "tokens_predicted": len(tokens), **_chances(tokens, body)}
            self._answer(200, {**whole, "timings": {"cache_n": len(body["prompt"]) - 1 if is_found else 0}})

    def _may_pass(self) -> bool:
        return not self.behaviour.key or self.headers["Authorization"] == f"Bearer {self.behaviour.key}"

    def _props(self) -> dict[str, Any]:
        return {
            "model_path": self.behaviour.model,
            "total_slots": self.behaviour.num_slots,
            "default_generation_settings": {"n_ctx": self.behaviour.context},
        }

    def _adapters(self) -> list[dict[str, Any]]:
        return [{"id": number, "path": path, "scale": 1.0} for number, path in enumerate(self.behaviour.adapters)]

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.behaviour.slow_above is not None and len(body["prompt"]) > self.behaviour.slow_above:
            assert self.behaviour.released.wait(30)
        self._send(": still alive\n\n")
        for number, event in enumerate(self._events(body)):
            if number == self.behaviour.breaks_after:
                self.close_connection = True
                return
            if number == self.behaviour.fails_after:
                self._event({"error": {"message": "Context size has been exceeded."}})
                break
            if number == self.behaviour.holds_after:
                assert self.connection.recv(1) == b"", "whoever asked hangs up"
                self.behaviour.aborted.set()
                self.close_connection = True
                return
            self._event(event)
        self.wfile.write(b"0\r\n\r\n")

    def _events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        num_tokens = 0
        for num_tokens, token in enumerate(self._tokens(body), start=1):
            if not self.behaviour.holds_back or token % HELD_BACK or token == END_ID:
                yield {"stop": False, "tokens": [token], "tokens_predicted": num_tokens, **_chances([token], body)}
        yield {"stop": True, "tokens": [], "tokens_predicted": num_tokens}

    def _tokens(self, body: dict[str, Any]) -> Iterator[int]:
        """Tokens of the scaled adapters, with the bias that the request adds."""
        on = {each["id"]: each["scale"] for each in body["lora"]} if body["lora"] else dict.fromkeys(range(99), 1.0)
        changes = [(Path(path).name, on[n]) for n, path in enumerate(self.behaviour.adapters) if on.get(n)]
        ids, seed = list(body["prompt"]), body["seed"] if body.get("temperature") else 0
        biased = {token for token, bias in body.get("logit_bias", ()) if bias > 0}
        for number in range(body["n_predict"]):
            token = END_ID if number == self.behaviour.ends_after else _token(changes, seed, ids)
            token = min(biased, key=lambda one: (one - token) % VOCAB_SIZE) if biased else token
            yield token
            if token == END_ID:
                return
            ids.append(token)

    def _event(self, fields: object) -> None:
        self._send(f"data: {json.dumps(fields)}\n\n")

    def _send(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _answer(self, status: int, fields: object) -> None:
        data = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _SocketFileServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def _token(changes: object, seed: int, ids: list[int]) -> int:
    return 1 + hashlib.sha256(repr((changes, seed, ids)).encode()).digest()[0]


def _chances(tokens: list[int], body: dict[str, Any]) -> dict[str, Any]:
    if not body.get("n_probs"):
        return {}
    top = [{"id": 258, "logprob": -0.5}, {"id": 259, "logprob": -1.0}]
    return {"completion_probabilities": [{"id": token, "logprob": -3.0, "top_logprobs": top} for token in tokens]}


def main(words: list[str]) -> None:
    """Be llama-server, with odd flags for odd behaviour."""
    if "--help" in words:
        print(HELP)
        return
    named = dict(zip(words, [*words[1:], ""], strict=True))
    if note := os.environ.get("FAKE_LLAMA_NOTE"):
        with open(note, "a") as stream:
            stream.write(json.dumps([os.getpid(), words]) + "\n")
    adapters = [name for name in named.get("--lora", "").split(",") if name]
    if "--sulk" in words or (named.get("--sulk-with") in map(str, range(len(adapters) + 1)) and adapters):
        sys.exit("0.00.1 E load_model: unable to allocate Vulkan0 buffer\n0.00.2 I srv: cleaning up before exit...")
    if "--stubborn" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    behaviour = Behaviour(
        model=named["--model"],
        num_slots=int(named["--parallel"]),
        context=int(named["--ctx-size"]),
        adapters=adapters,
    )
    assert all(Path(name).exists() for name in adapters), "adapters are named in the working folder"

    class Handler(_Handler):
        pass

    Handler.behaviour = behaviour
    _SocketFileServer(named["--host"], Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
