"""With the real model too, nothing that was said reaches a file: its engine maps, caches and logs of its own."""

import httpx
import pytest
from support.canary import files_with
from support.processes.nodes import running_node

from openledger_node.home import Home

pytestmark = pytest.mark.model

PROMPT = "Zq7-prompt-plover-4471"


def test_no_file_of_a_node_holds_what_was_said_there(real_home: Home) -> None:
    body = {"messages": [{"role": "user", "content": f"Say it again: {PROMPT}"}], "max_tokens": 24, "temperature": 0}
    with running_node(real_home) as node:
        model = httpx.get(f"{node.url}/v1/models", headers=node.headers).json()["data"][0]["id"]
        asked = {"model": model, **body}
        answer = httpx.post(f"{node.url}/v1/chat/completions", headers=node.headers, json=asked, timeout=120).json()
        text = answer["choices"][0]["message"]["content"]
        assert len(text) > 18
        assert files_with(PROMPT, real_home.root) == files_with(text, real_home.root) == []
    assert files_with(PROMPT, real_home.root) == files_with(text, real_home.root) == []
