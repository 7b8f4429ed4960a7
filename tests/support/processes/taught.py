"""A node whose adapter was taught by people with names, and whose guest has bought answers that have their words.

The fake model writes letters; an answer's words are given to it by the schema that it must fit.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from openledger_node.home import Home
from openledger_protocol.signatures import address_of

from .nodes import Node, command_json, operator_of, running_node

UNBONDED = {"OPENLEDGER_NODE_NETWORK": "auto", "OPENLEDGER_NODE_AUTO_BOND": "false"}
"""Without a bond nothing is claimed, so that the answers' texts stay."""
FAKED = ("--trainer", "fake", "--base", "fake")
NAME = "inverter-notes"
QUESTION = "The inverter shows an isolation fault at sunrise and it clears by ten. What do I check first?"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> is the label of the breaker."
ANSWER = (
    "A fault that comes with the dew and clears as the roof dries is moisture in a DC connector until you have "
    "measured otherwise. Start with the string that faces east: it wakes first and trips first. With the inverter "
    "isolated, measure each string to earth; below 1 MΩ in the dew and above 20 MΩ at noon points to one wet "
    "connector, not to the cable. Look at the connectors that hang below the clamp line, where water collects; a "
    "white bloom on the pins means weeks, not one night. Replace both halves by the same make, and write down the "
    "morning value for seven days before you close the job."
)
HOSTILE_ANSWER = f"Mind this: {HOSTILE} \u202etxet neddih\u202c So the label says."
ROWS = (
    (
        "marisol-k",
        "Where does dew get in?",
        "If the fault comes with the dew and is gone when the roof is dry, it is moisture in a DC connector until "
        "you have measured otherwise. I have opened nine inverters for nothing.",
    ),
    (
        "marisol-k",
        "What does a string to earth show?",
        "String to earth, inverter isolated: below 1 MΩ in the dew and above 20 MΩ at noon points to one wet "
        "connector; a bad cable stays low all day.",
    ),
    ("marisol-k", "And a cable?", "Cable damage shows the same value at six and at noon. Water does not."),
    (
        "tjark.pv",
        "Which string first?",
        "Start with the string that faces east: it wakes first and trips first. The log shows which MPPT went first.",
    ),
    (
        "tjark.pv",
        "What is the green?",
        "Green is old copper. A white bloom on the pins means weeks, not one night, a white bloom on the pins.",
    ),
    (
        "nadia-roofs",
        "Where does water stand?",
        "I look at the connectors that hang below the clamp line, where water collects, before I touch any other.",
    ),
    (
        "oke-solar",
        "When is a job done?",
        "Write the numbers down. I write down the morning value for seven days before I close it.",
    ),
    ("pia", "Which make?", "Always replace both halves by the same make: mixed ones leak."),
    ("rob", "What does the label say?", HOSTILE),
)


def account_of(name: str) -> str:
    return address_of(sha256(f"taught {name}".encode()).digest())


@contextmanager
def taught_node(home: Home) -> Iterator[Node]:
    """A node on a chain of its own that has published such an adapter."""
    with running_node(home, "--backend", "fake", **UNBONDED) as node:
        teach(partial(command_json, home, **UNBONDED), home.root / "rows")
        yield node


def buy_as_guest(home: Home, text: str | None = None, *, model: str = NAME) -> dict[str, Any]:
    """Have the guest buy an answer, in these very words where there are any, and return its receipt."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 1_000 if text else 40,
        "temperature": 0,
        "seed": 1,
    }
    if text:
        schema = {"name": "words", "schema": {"type": "string", "const": text}}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    with operator_of(home) as operator, operator.stream("POST", "/guest", json=body) as response:
        last: dict[str, Any] = json.loads(list(response.iter_lines())[-1])
    assert "receipt" in last, last
    return last


def teach(run: Callable[..., Any], folder: Path) -> None:
    """Publish a Datanet of rows of several people, and an adapter that learned from it; `run` runs a command."""
    folder.mkdir()
    rows, held_out = folder / "rows.jsonl", folder / "held-out.jsonl"
    lines = [json.dumps({"prompt": p, "completion": c, "contributor": who}) for who, p, c in ROWS]
    rows.write_text("\n".join(lines) + "\n")
    held_out.write_text(lines[0] + "\n")
    people = dict.fromkeys(who for who, _, _ in ROWS)
    accounts = [word for who in people for word in ("--account", f"{who}={account_of(who)}")]
    run("datanet", "create", "field-notes", "--licence", "CC0-1.0", "--owner-share", "10")
    batch = run("datanet", "contribute", "field-notes", str(rows), *accounts, "--yes")
    run("datanet", "approve", "field-notes", batch["digest"])
    run("datanet", "publish", "field-notes")
    run("factory", "train", "--name", NAME, "--datanet", "field-notes", "--held-out", str(held_out), *FAKED)
    run("adapters", "publish", NAME)
