# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["open-webui==0.12.4"]
# [tool.uv]
# override-dependencies = ["torch; python_version < '3'"]
# ///
"""Open WebUI, with its data in a temporary folder.

Only its own embedding model needs torch, whose build on PyPI brings 3 GB of CUDA. So torch is left out, and
with it the search in documents.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from driver import BASE_URL, KEY, MODEL, QUESTION, main

ENVIRONMENT = {
    "OPENAI_API_BASE_URL": BASE_URL,
    "OPENAI_API_KEY": KEY,
    "DEFAULT_MODELS": MODEL,
    "ENABLE_OLLAMA_API": "false",
}
START_S = 600.0
QUIET = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "true",
    "RAG_EMBEDDING_ENGINE": "openai",
    "SCARF_NO_ANALYTICS": "true",
}
"""Nothing is loaded from elsewhere, and nothing is told to anybody."""

ACCOUNT = {"name": "Owner", "email": "owner@example.com", "password": "a long password"}


@contextmanager
def _open_webui():
    """Run the program, and give a function that asks its API as the first account, which is the administrator's."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        command = str(Path(sys.executable).parent / "open-webui")
        program = [command, "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = {**os.environ, **ENVIRONMENT, **QUIET, "DATA_DIR": folder, "HOME": folder}
        with (
            Path(folder, "log").open("w") as log,
            subprocess.Popen(program, cwd=folder, env=environment, stdout=log, stderr=log) as process,
        ):
            try:
                _wait(process, port, Path(folder, "log"))
                token = json.loads(_ask(port, "/api/v1/auths/signup", ACCOUNT))["token"]
                yield lambda path, body=None: _ask(port, path, body, token)
            finally:
                process.terminate()


def _wait(process, port, log):
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, log.read_text()[-300:]
        try:
            _ask(port, "/health")
        except OSError:
            time.sleep(1)
        else:
            return
    raise AssertionError(f"it has not started after {START_S:g} s")


def _ask(port, path, body=None, token=""):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        return answer.read().decode()


def _chat(**more):
    return {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16, **more}


def models():
    assert MODEL in {each["id"] for each in json.loads(_ask_as_owner("/api/models"))["data"]}


def chat():
    answer = json.loads(_ask_as_owner("/api/chat/completions", _chat(stream=False)))
    assert answer["choices"][0]["message"]["content"]


def stream():
    lines = _ask_as_owner("/api/chat/completions", _chat(stream=True)).splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event.get("choices"))


if __name__ == "__main__":
    with _open_webui() as _ask_as_owner:  # otherwise it would count as a feature
        main(globals())
