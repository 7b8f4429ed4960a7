"""Figures of Datanets from the chain, each final block read once. test_teaching.py compares them with the credits."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.contributors import ADA, BEN
from support.market_world.terms import word
from support.rows import block_of, event_of

from openledger_node.accounting.datanet_boards import DatanetBoards
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.events import Event
from openledger_protocol.primitives import DatanetId
from openledger_protocol.settlement import NOBODY

LAKE, NODE = DatanetId(word("lake")), "0x" + "22" * 20
WHOLE = 100 * 1_000_000
"""The weights of a list, over a pot of gross 100."""


def event(block: int, index: int, called: str, **arguments: Any) -> Event:
    return event_of(called, arguments, block=block, index=index)


def claim(block: int, seq: int) -> list[Event]:
    """A claim with one pot of 10 of gross 100, and its list: Ada three fifths, Ben one, and one of nobody."""
    numbers = dict.fromkeys(("epoch", "claimedAt", "claimedBlock", "protocol", "nodeShare"), block)
    pots = [{"start": 0, "adapterId": word("one"), "datanetId": LAKE, "gross": 100, "amount": 10}]
    record = {"node": NODE, "seq": seq, "itemsRoot": word("i"), "gross": 100, "credits": [], "pots": pots, **numbers}
    parts = ((ADA, 3), (BEN, 1), (NOBODY, 1))
    payouts = [{"pot": 0, "account": account, "weight": part * WHOLE // 5} for account, part in parts]
    return [
        event(block, 0, "Claimed", node=NODE, seq=seq, record=record),
        event(block, 1, "Proposed", node=NODE, seq=seq, payouts=payouts),
    ]


@pytest.mark.parametrize("is_late", [False, True])
def test_a_claim_is_pending_until_it_is_final_and_a_late_one_pays_nobody(tmp_path: Path, is_late: bool) -> None:
    created = event(1, 0, "DatanetCreated", id=LAKE, owner=ADA, name="lake", licence="CC0-1.0")
    later = [
        event(3, 0, "Finalized", node=NODE, seq=1, late=is_late),
        event(3, 1, "DatanetOwnerChanged", id=LAKE, owner=BEN),
    ]
    with closing(open_ledger(tmp_path / "events.db")) as ledger:
        blocks = [block_of(number) for number in range(1, 4)]
        ledger.events.append(blocks, [created, *claim(2, 1), *later])
        boards = DatanetBoards(ledger.events)
        ledger.events.finalize(2)
        for _ in range(2):
            boards.update()
        assert (boards.datanets[LAKE].name, boards.datanets[LAKE].owner) == ("lake", ADA)
        sums = boards.sums()
        assert (sums[LAKE, ADA].pending_wei, sums[LAKE, ADA].earned_wei, sums[LAKE, BEN].pending_wei) == (6, 0, 2)
        ledger.events.finalize(3)
        for _ in range(2):
            boards.update()
        sums = boards.sums()
        assert boards.datanets[LAKE].owner == BEN
        if is_late:
            assert sums == {}
        else:
            assert (sums[LAKE, ADA].pending_wei, sums[LAKE, ADA].earned_wei, sums[LAKE, BEN].earned_wei) == (0, 6, 2)
