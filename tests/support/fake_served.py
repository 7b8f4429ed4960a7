#!/usr/bin/env -S python3 -I
"""What llama-server and vLLM say over HTTP, without a model: each token is a hash of what came before it.

As a program it takes the flags of either and listens on a socket file, so that a plug can start and end it. It runs
on whatever `python3` is on the PATH.
"""

from __future__ import annotations

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

NOTE_VARIABLE = "FAKE_SERVER_NOTE"
"""Names a file to which each start adds its process and its arguments."""

HELP = """
--model FNAME   --ctx-size N   --parallel N   --threads N   --device DEV   --gpu-layers N   --host HOST
--cache-type-k TYPE   --cache-type-v TYPE   --kv-unified   --cache-ram N   --no-cache-idle-slots
--slot-prompt-similarity N   --no-slots   --no-webui   --no-context-shift   --fit on|off
--lora FNAME   path to LoRA adapter (use comma-separated values to load multiple adapters)
--lora-init-without-apply
"""


@dataclass
class Behaviour:
    """How a server is, and what it has seen."""

    key: str | None = None
    refuses: tuple[int, str] | None = None  # status and message, to each completion
    breaks_after: int | None = None  # events of an answer, and then the line is cut
    fails_after: int | None = None  # events of an answer, and then it says that it failed
    holds_after: int | None = None  # events of an answer, and then nothing until the other side hangs up
    ends_after: int | None = None  # tokens, and then an end token
    slow_above: int | None = None  # tokens of a prompt; a longer one waits for its first token until `released`
    released: threading.Event = field(default_factory=threading.Event)
    completions: list[dict[str, Any]] = field(default_factory=list)
    aborted: threading.Event = field(default_factory=threading.Event)


@dataclass
class Llama(Behaviour):
    """A llama-server."""

    model: str = "/models/model.gguf"
    num_slots: int = 8
    context: int = 1024
    adapters: list[str] = field(default_factory=list)  # paths
    is_llama: bool = True
    holds_back: bool = True
    shares: bool = False  # prompts of all requests, which it finds again


@dataclass
class Vllm(Behaviour):
    """A vLLM server."""

    served: str = "base"
    version: str = "0.32.0"
    loads_adapters: bool = True
    refuses_adapters: str | None = None
    adapters: dict[str, str] = field(default_factory=dict)


@contextmanager
def fake_server(behaviour: Behaviour) -> Iterator[str]:
    """Serve on a free port of loopback; yields the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(behaviour)) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def handler_of(behaviour: Behaviour) -> type[_Handler]:
    kind = _LlamaHandler if isinstance(behaviour, Llama) else _VllmHandler
    return type(kind.__name__, (kind,), {"behaviour": behaviour})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Any
    failure = ""  # what it says when it fails

    def handle(self) -> None:
        """Answer until the other side hangs up, in the middle of an answer or behind it."""
        with suppress(ConnectionError):
            super().handle()

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _has_key(self) -> bool:
        return not self.behaviour.key or self.headers["Authorization"] == f"Bearer {self.behaviour.key}"

    def _stream(self, num_prompt: int, events: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.behaviour.slow_above is not None and num_prompt > self.behaviour.slow_above:
            assert self.behaviour.released.wait(30)
        self._begin()
        for number, event in enumerate(events):
            if number == self.behaviour.breaks_after:
                self.close_connection = True
                return
            if number == self.behaviour.fails_after:
                self._event(json.dumps({"error": {"message": self.failure}}))
                break
            if number == self.behaviour.holds_after:
                assert self.connection.recv(1) == b"", "whoever asked hangs up"
                self.behaviour.aborted.set()
                self.close_connection = True
                return
            self._event(event)
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self) -> None:
        """What comes before the first event: nothing."""

    def _event(self, text: str) -> None:
        self._send(f"data: {text}\n\n")

    def _send(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"error": {"message": message, "code": status}})

    def _answer(self, status: int, fields: object) -> None:
        data = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _token(self, number: int, changes: object, seed: int, ids: list[int]) -> int:
        """The token `number` of an answer, behind `ids`."""
        digest = hashlib.sha256(repr((changes, seed, ids)).encode()).digest()
        return END_ID if number == self.behaviour.ends_after else 1 + digest[0]


class _LlamaHandler(_Handler):
    behaviour: Llama
    failure = "Context size has been exceeded."

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif not self._has_key():
            self._refuse(401, "Invalid API Key")
        elif not self.behaviour.is_llama:
            self._answer(404, {"detail": "Not Found"})
        elif self.path == "/props":
            sizes = {"total_slots": self.behaviour.num_slots}
            settings = {"default_generation_settings": {"n_ctx": self.behaviour.context}}
            self._answer(200, {"model_path": self.behaviour.model, **sizes, **settings})
        else:
            paths = enumerate(self.behaviour.adapters)
            self._answer(200, [{"id": number, "path": path, "scale": 1.0} for number, path in paths])

    def do_POST(self) -> None:
        body = self._body()
        is_found = self.behaviour.shares and body["prompt"] in [each["prompt"] for each in self.behaviour.completions]
        self.behaviour.completions.append(body)
        if self.behaviour.refuses:
            self._refuse(*self.behaviour.refuses)
        elif body["stream"]:
            self._stream(len(body["prompt"]), self._events(body))
        else:
            tokens = list(self._tokens(body))
            whole = {"stop": True, "tokens": tokens, "tokens_predicted": len(tokens), **self._chances(tokens, body)}
            self._answer(200, {**whole, "timings": {"cache_n": len(body["prompt"]) - 1 if is_found else 0}})

    def _begin(self) -> None:
        self._send(": still alive\n\n")

    def _events(self, body: dict[str, Any]) -> Iterator[str]:
        count = 0
        for count, token in enumerate(self._tokens(body), start=1):
            if not self.behaviour.holds_back or token % HELD_BACK or token == END_ID:
                told = {"stop": False, "tokens": [token], "tokens_predicted": count}
                yield json.dumps({**told, **self._chances([token], body)})
        yield json.dumps({"stop": True, "tokens": [], "tokens_predicted": count})

    def _tokens(self, body: dict[str, Any]) -> Iterator[int]:
        """Tokens of the scaled adapters, with the bias that the request adds."""
        on = {each["id"]: each["scale"] for each in body["lora"]} if body["lora"] else dict.fromkeys(range(99), 1.0)
        changes = [(Path(path).name, on[n]) for n, path in enumerate(self.behaviour.adapters) if on.get(n)]
        ids, seed = list(body["prompt"]), body["seed"] if body.get("temperature") else 0
        biased = {token for token, bias in body.get("logit_bias", ()) if bias > 0}
        for number in range(body["n_predict"]):
            token = self._token(number, changes, seed, ids)
            token = min(biased, key=lambda one: (one - token) % VOCAB_SIZE) if biased else token
            yield token
            if token == END_ID:
                return
            ids.append(token)

    def _chances(self, tokens: list[int], body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("n_probs"):
            return {}
        top = [{"id": 258, "logprob": -0.5}, {"id": 259, "logprob": -1.0}]
        return {"completion_probabilities": [{"id": token, "logprob": -3.0, "top_logprobs": top} for token in tokens]}


class _VllmHandler(_Handler):
    behaviour: Vllm
    failure = "EngineCore died"

    def do_GET(self) -> None:
        base = {"id": self.behaviour.served, "root": "/models/x", "parent": None, "max_model_len": 256}
        adapters = [{"id": name, "parent": self.behaviour.served} for name in self.behaviour.adapters]
        models = {"data": [base, *adapters]}
        routes = {"/health": {}, "/version": {"version": self.behaviour.version}, "/v1/models": models}
        self._answer(200, routes[self.path]) if self._may_pass() else self._refuse(401, "Unauthorized")

    def do_POST(self) -> None:
        body = self._body()
        if not self._may_pass():
            self._refuse(401, "Unauthorized")
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
        return not self.path.startswith("/v1") or self._has_key()

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
            self._stream(len(body["prompt"]), self._events(body))

    def _events(self, body: dict[str, Any]) -> Iterator[str]:
        """One token, then three in one event, and so on, as when vLLM is ahead of its reader."""
        tokens, size = list(self._tokens(body)), 1
        while tokens:
            ids, tokens, size = tokens[:size], tokens[size:], 4 - size
            choice = {"index": 0, "text": "", "token_ids": ids, "logprobs": self._chances(ids, body)}
            yield json.dumps({"choices": [choice]})
        yield "[DONE]"

    def _tokens(self, body: dict[str, Any]) -> Iterator[int]:
        ids, seed = list(body["prompt"]), body["seed"] if body["temperature"] else 0
        for number in range(body["max_tokens"]):
            token = self._token(number, body["model"], seed, ids)
            yield token
            if token in body["stop_token_ids"]:
                return
            ids.append(token)

    def _chances(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any] | None:
        if body.get("logprobs") is None:
            return None
        names = [f"token_id:{token}" for token in ids]
        top = [{name: -3.0, "token_id:258": -0.5, "token_id:259": -1.0} for name in names]
        return {"token_logprobs": [-3.0 for _ in ids], "tokens": names, "top_logprobs": top}


class _SocketFileServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def main(words: list[str]) -> None:
    """Be vLLM where its flag for a socket file is given, else llama-server; odd flags are for odd behaviour."""
    if "--help" in words:
        print(HELP)
        return
    named = {word: following for word, following in zip(words, [*words[1:], ""])}  # noqa: B905, C416
    if note := os.environ.get(NOTE_VARIABLE):
        with open(note, "a") as stream:
            stream.write(json.dumps([os.getpid(), words]) + "\n")
    if "--stubborn" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--uds" in words:
        if "--sulk" in words:
            sys.exit("Traceback\nValueError: no GPU here\nRuntimeError: Engine core failed. See root cause above.")
        _SocketFileServer(named["--uds"], handler_of(Vllm())).serve_forever()
    adapters = [name for name in named.get("--lora", "").split(",") if name]
    if "--sulk" in words or (named.get("--sulk-with") in map(str, range(len(adapters) + 1)) and adapters):
        sys.exit("0.00.1 E load_model: unable to allocate Vulkan0 buffer\n0.00.2 I srv: cleaning up before exit...")
    assert all(Path(name).exists() for name in adapters), "adapters are named in the working folder"
    sizes = {"num_slots": int(named["--parallel"]), "context": int(named["--ctx-size"])}
    behaviour = Llama(model=named["--model"], adapters=adapters, **sizes)
    _SocketFileServer(named["--host"], handler_of(behaviour)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
