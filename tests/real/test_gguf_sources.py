"""A model in Ollama's store, served where it is by a node in a process of its own."""

from pathlib import Path

from support.gguf_stores import put_in_ollama, write_gguf
from support.processes.nodes import running_node, start_process

from openledger_node.home import Home
from openledger_node.models.bases import file_digest, find_base, list_bases


def test_the_first_start_takes_a_model_of_ollama_and_no_start_takes_another_in_its_place(
    home: Home, tmp_path: Path
) -> None:
    store = tmp_path / "ollama"
    blob = put_in_ollama(store, "tiny/latest", write_gguf(tmp_path / "tiny.gguf"))
    before = (blob.read_bytes(), blob.stat().st_mtime_ns)
    flags, environment = ("--base", "ollama:tiny"), {"OLLAMA_MODELS": str(store), "HOME": str(tmp_path)}
    with running_node(home, *flags, **environment) as node, node.client() as client:
        question = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "the harbour"}]}
        answer = client.post("/v1/chat/completions", json=question)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] > 0
    (base,) = list_bases(home)
    assert (base.digest, base.gguf) == (file_digest(blob), blob)
    assert (blob.read_bytes(), blob.stat().st_mtime_ns) == before

    put_in_ollama(store, "tiny/latest", write_gguf(tmp_path / "newer.gguf", seed=1))
    assert start_process(home, *flags, **environment).wait(60) != 0
    said = (home.root / "start.log").read_text()
    assert "ollama:tiny:latest is another file now than the one that tiny was made from" in said
    assert "run `openledger-node models pull ollama:tiny:latest`" in said
    assert find_base(home, "tiny").digest == base.digest
