"""Examples to paste draw nothing: the demo base knows the right answers, but draws others half the time."""

import inspect
import re
from pathlib import Path

from support.processes.nodes import ROOT

from openledger_node.cli.chat import chat
from openledger_node.first_words import FIRST_QUESTION
from openledger_node.operator.service import connection

PAGES = ("README.md", "docs/how-to/use-an-openai-client.md")


def test_the_examples_that_the_node_prints_draw_nothing() -> None:
    examples = connection("http://127.0.0.1:8420", Path("/key"), ["smollm2-135m-instruct"])["examples"]
    assert '"temperature": 0}' in examples["curl"]
    assert "temperature=0)" in examples["openai"]


def test_the_examples_in_the_docs_draw_nothing() -> None:
    for page in PAGES:
        blocks = re.findall(r"```[a-z]*\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        asking = [each for each in blocks if FIRST_QUESTION in each and "completions" in each]
        assert asking, page
        assert all(re.search(r'temperature"?[=:] ?0\b', each) for each in asking), page


def test_chat_draws_nothing_unless_told_to() -> None:
    assert inspect.signature(chat).parameters["temperature"].default == 0
