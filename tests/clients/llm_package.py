# /// script
# requires-python = ">=3.11"
# dependencies = ["llm==0.36"]
# ///
"""The program `llm`, set up by its own files."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from driver import BASE_URL, CITY, KEY, MODEL, QUESTION, main

MODELS = f"""
- model_id: node
  model_name: {MODEL}
  api_base: {BASE_URL}
  api_key_name: node
  supports_tools: true
  supports_schema: true
"""


def _llm(*words):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "extra-openai-models.yaml").write_text(MODELS)
        environment = {**os.environ, "LLM_USER_PATH": folder}
        options = ["-m", "node", "--key", KEY, "-o", "max_tokens", "48", "-o", "temperature", "0"]
        command = [sys.executable, "-m", "llm", *options, *words]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def chat():
    assert _llm("--no-stream", QUESTION).strip()


def stream():
    assert _llm(QUESTION).strip()


def structured():
    assert '"city"' in _llm("--schema", json.dumps(CITY), QUESTION)


def tool_offer():
    """A request that offers a tool; a model this small answers by text."""
    assert _llm("-T", "llm_time", QUESTION) is not None


if __name__ == "__main__":
    main(globals())
