"""The program that tests start as llama-server: `make test-llamacpp` names the real one, else it is a fake."""

import os
import shlex
from pathlib import Path

LLAMA_VARIABLE = "LLAMA_FOR_TESTS"
FAKE = Path(__file__).with_name("fake_served.py")


def llama_program() -> str:
    """The value of [inference] server_command for this run."""
    return os.environ.get(LLAMA_VARIABLE) or fake_program()


def fake_program(*flags: str) -> str:
    return shlex.join([str(FAKE), *flags])
