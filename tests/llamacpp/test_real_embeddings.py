"""`/v1/embeddings` over llama.cpp's own server, asked by OpenAI's client: `make test-llamacpp` runs this."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from support.llama_programs import LLAMA_VARIABLE
from support.processes.nodes import running_node
from support.tiny import make_base
from support.tiny_gguf import make_gguf_base

from openledger_node.home import Home

MODEL = "tiny"
START_S = 60.0


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that was started for embeddings."""
    root = tmp_path_factory.mktemp("embedder")
    gguf = make_gguf_base(make_base(root / "hf", head_dim=32), root / "gguf") / "model.gguf"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--model", str(gguf), "--ctx-size", "256", "--port", str(port), "--gpu-layers", "0", "--device", "none"]
    server = subprocess.Popen([os.environ[LLAMA_VARIABLE], *words, "--embeddings", "--pooling", "mean"])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_ready(url)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def wait_ready(url: str) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the embedding server does not start")


def test_openais_client_gets_vectors(embedder: str, tmp_path: Path) -> None:
    settings = {"OPENLEDGER_API_EMBEDDINGS_URL": embedder, "OPENLEDGER_API_EMBEDDINGS_MODEL": MODEL}
    with (
        running_node(Home(tmp_path), "--backend", "fake", **settings) as node,
        openai.OpenAI(base_url=f"{node.url}/v1", api_key=node.key, max_retries=0) as client,
    ):
        assert client.models.list().data[-1].id == MODEL
        one = client.embeddings.create(model=MODEL, input="the sea")  # it asks for base64
        two = client.embeddings.create(model=MODEL, input=["the sea", "a wall"], encoding_format="float")
        ids = client.embeddings.create(model=MODEL, input=[[5, 6, 7]])
        with pytest.raises(openai.BadRequestError, match="leave dimensions out"):
            client.embeddings.create(model=MODEL, input="the sea", dimensions=3)
        with pytest.raises(openai.BadRequestError, match="refuses the input"):
            client.embeddings.create(model=MODEL, input=[[5] * 2_000])
    sea, wall = (each.embedding for each in two.data)
    assert one.data[0].embedding == pytest.approx(sea, abs=1e-4)
    assert sea != wall
    assert sum(number * number for number in sea) == pytest.approx(1, abs=1e-3), "llama.cpp normalises"
    assert len(ids.data[0].embedding) == len(sea)
    assert one.usage.prompt_tokens > 0
