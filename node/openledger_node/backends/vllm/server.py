"""The vLLM server: one that the operator runs, or one that we start, keep and end."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from ...engine.backend import BackendSettings
from ...errors import ModelError
from .client import Client, ServerLostError, client_of_socket, client_of_url

SERVED_NAME = "base"
KEY_VARIABLE = "VLLM_API_KEY"

RANK_MAX = 64
"""Ranks that fit unless the operator says more: vLLM keeps room of this rank for each adapter of a batch."""

HOST_ADAPTERS = 128
"""Adapters that vLLM keeps in the machine's memory."""

POLL_INTERVAL_S = 0.2
ATTACH_PATIENCE_S = 60.0
END_GRACE_S = 3.0
"""Less than the next server needs to its first look at the GPU: then the memory of this one is free."""

TAIL_LINES = 40
REASON_LINES = 3

_IS_REASON = re.compile(r"\b(\w*[Ee]rror:|Value error,)")
_SAYS_NOTHING = ("See root cause above", "Failed core proc")


class OwnServer:
    """A vLLM server of our own: behind a socket file in a folder that only we can enter, so it needs no key.

    Its log goes to ours. It ends when we do, however we do.
    """

    def __init__(self, program: list[str], arguments: list[str], environment: dict[str, str]) -> None:
        """Start it; `program` and what the operator adds go around our `arguments`."""
        self._folder = tempfile.mkdtemp(prefix="openledger-vllm-")
        self._socket = str(Path(self._folder, "server"))
        self.client = client_of_socket(self._socket)
        command = [program[0], *arguments, "--uds", self._socket, *program[1:]]
        keeper = str(Path(__file__).with_name("parent_watch.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", keeper, str(END_GRACE_S), self._folder, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        assert self._process.stdout is not None, "it is a pipe"
        self._logging = threading.Thread(target=self._keep_log, args=(self._process.stdout,), daemon=True)
        self._logging.start()

    def wait_ready(self) -> None:
        """Wait until it serves, however long it loads.

        Raises:
            ModelError: it ended instead; with what it said last.
        """
        while not _is_healthy(self.client):
            if self._process.poll() is not None:
                self.close()
                raise ModelError(f"the vLLM server ended while it started: {reason_in(list(self._tail))}")
            time.sleep(POLL_INTERVAL_S)

    def close(self) -> None:
        """End it, and wait for its end."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.close()
        self._process.wait()
        self._logging.join()

    def _keep_log(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
                self._tail.append(line.decode(errors="replace").strip())


def start_server(settings: BackendSettings, folder: Path, model_context: int | None) -> OwnServer:
    """Start a server of the base in `folder` and wait until it serves.

    Raises:
        ModelError: the program is not there, or ended before it served.
    """
    program = shlex.split(settings.server_command or "vllm")
    if not program or shutil.which(program[0]) is None:
        raise ModelError(
            f"no program {program[0] if program else ''!r} is here: install vLLM into an environment of its own and "
            "set [inference] server_command to its `vllm`, or server_url to a server that runs"
        )
    server = OwnServer(program, serve_arguments(settings, folder, model_context), _environment(settings))
    server.wait_ready()
    return server


def attach(url: str, *, patience_s: float = ATTACH_PATIENCE_S) -> Client:
    """A client of the operator's own server; one that does not answer may just be starting, so it gets a minute.

    Raises:
        ModelError: nobody answers there.
    """
    client = client_of_url(url, os.environ.get(KEY_VARIABLE))
    deadline_s = time.monotonic() + patience_s
    while not _is_healthy(client):
        if time.monotonic() >= deadline_s:
            raise ModelError(f"no vLLM server answers at {url}: start it, or set [inference] server_url")
        time.sleep(POLL_INTERVAL_S)
    return client


def serve_arguments(settings: BackendSettings, folder: Path, model_context: int | None) -> list[str]:
    """What `vllm` is called with, but for where it listens."""
    context = min(settings.context_max, model_context or settings.context_max)
    options: dict[str, object] = {
        "served-model-name": SERVED_NAME,
        "dtype": settings.dtype,
        "max-model-len": context,
        "max-num-seqs": settings.batch_max,
        "max-loras": settings.batch_max,  # so that no row of a batch waits for another's adapter to leave
        "max-cpu-loras": max(HOST_ADAPTERS, settings.batch_max),
        "max-lora-rank": RANK_MAX,
        "generation-config": "vllm",  # a request says how it samples, not the base's files
        # The same parser as ours, and no more white space than ours allows.
        "structured-outputs-config": json.dumps({"backend": "guidance", "disable_any_whitespace": True}),
    }
    if settings.kv_cache_bytes:
        options["kv-cache-memory-bytes"] = settings.kv_cache_bytes
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["serve", str(folder), *words, "--enable-lora", "--disable-uvicorn-access-log"]


def reason_in(lines: list[str]) -> str:
    """What a log's end says of why: its last errors, but those that only point at others."""
    told = [line for line in lines if _IS_REASON.search(line) and not any(empty in line for empty in _SAYS_NOTHING)]
    chosen = (told or [line for line in lines if line])[-REASON_LINES:]
    return " / ".join(dict.fromkeys(chosen)) or "it said nothing"


def _environment(settings: BackendSettings) -> dict[str, str]:
    ours = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if settings.threads:
        ours["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # or its CPU build takes a thread for each core
    others = {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}
    return {**ours, **others, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def _is_healthy(client: Client) -> bool:
    try:
        return client.ask("GET", "/health").status == 200
    except ServerLostError:
        return False
