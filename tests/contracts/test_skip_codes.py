"""Reasons to skip an item: the contract, the protocol and the reference give them the same names and numbers."""

import re
from pathlib import Path

from openledger_protocol.claims import SkipCode

ROOT = Path(__file__).parents[2]
NAMES = {int(code): code.name.title().replace("_", "") for code in SkipCode}


def test_the_contract_has_the_same_names_in_the_same_order() -> None:
    source = (ROOT / "contracts/src/interfaces/IPaymentChannels.sol").read_text()
    members = re.search(r"enum SkipCode \{(.*?)\}", source, re.DOTALL)
    assert members
    found = re.findall(r"^ *(\w+),? // (\d+):", members[1], re.MULTILINE)
    assert [(name, number) for number, (name, _) in enumerate(found)] == [
        ("None", 0),
        *((v, k) for k, v in NAMES.items()),
    ]
    assert [int(written) for _, written in found] == list(range(len(found)))


def test_the_reference_puts_each_into_words() -> None:
    page = (ROOT / "docs/reference/contracts.md").read_text()
    assert {int(code): name for code, name in re.findall(r"^\| (\d) \| `(\w+)` \| \S", page, re.MULTILINE)} == NAMES
