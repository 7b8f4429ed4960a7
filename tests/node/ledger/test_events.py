"""Events and the last blocks: what was read comes back, and what a reorg took away is gone."""

from typing import Any

import pytest

from openledger_node.ledger.events import EventRows
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import ZERO_ADDRESS, Digest

ADA, BEN = "0x" + "a" * 40, "0x" + "b" * 40
MUCH = 2**127 + 1


@pytest.fixture
def rows(ledger: Ledger) -> EventRows:
    return ledger.events


def block(number: int, branch: int = 0) -> BlockId:
    return BlockId(number=number, hash=Digest(f"0x{branch:032x}{number:032x}"))


def event(number: int, log_index: int = 0, *, name: str = "Claimed", **arguments: Any) -> Event:
    return Event(
        contract=ZERO_ADDRESS,
        name=name,
        arguments=arguments,
        block=block(number),
        transaction_hash=block(number).hash,
        log_index=log_index,
    )


def append(rows: EventRows, first: int, last: int, *events: Event) -> None:
    rows.append([block(number) for number in range(first, last + 1)], events)


def test_an_event_comes_back_with_its_structs_and_large_numbers(rows: EventRows) -> None:
    assert (rows.last_blocks(), rows.finalized_number(), rows.find("Claimed")) == ([], -1, [])
    said = event(3, node=ADA, seq=7, record={"gross": MUCH, "credits": [{"account": BEN, "amount": 1}]}, late=True)
    append(rows, 1, 3, said)
    assert rows.find("Claimed") == [said]
    assert rows.find("Claimed", {"node": ADA, "seq": 7}) == [said]


def test_events_are_found_by_name_arguments_and_blocks_in_the_chains_order(rows: EventRows) -> None:
    a2, b1, a1 = event(2, node=ADA), event(1, 4, node=BEN), event(1, 2, node=ADA)
    append(rows, 1, 2, a2, b1, a1, event(2, 9, name="Proposed", node=ADA))
    assert rows.find("Claimed") == [a1, b1, a2]
    assert rows.find("Claimed", {"node": ADA}) == [a1, a2]
    assert rows.find("Claimed", {"node": ADA}, first=2) == [a2]
    assert rows.find("Claimed", {"node": ADA}, last=1) == [a1]
    assert rows.find("Claimed", {"nobody": ADA}) == []
    assert rows.in_blocks(1, 1) == [a1, b1]


@pytest.mark.parametrize("value", [MUCH, MUCH - 1, 2**53 + 1, 0, True, ADA])
def test_an_argument_is_found_exactly(rows: EventRows, value: int | str) -> None:
    append(rows, 1, 1, event(1, 0, amount=value), event(1, 1, amount=2**53), event(1, 2, amount=MUCH + 1))
    assert [found.log_index for found in rows.find("Claimed", {"amount": value})] == [0]


def test_a_rewind_forgets_what_is_above_and_another_block_takes_its_place(rows: EventRows) -> None:
    append(rows, 1, 5, event(2, node=ADA), event(4, node=ADA))
    rows.finalize(5)
    rows.rewind(3)
    assert [found.block.number for found in rows.find("Claimed", {"node": ADA})] == [2]
    assert rows.last_blocks() == [block(3), block(2), block(1)]
    assert rows.finalized_number() == 3
    append(rows, 4, 4, event(4, node=BEN))
    assert [found.arguments for found in rows.find("Claimed")] == [{"node": ADA}, {"node": BEN}]


def test_only_the_last_blocks_are_kept_and_every_event(rows: EventRows) -> None:
    append(rows, 1, 10, event(1, node=ADA))
    append(rows, 11, BLOCKS_KEPT + 20)
    kept = rows.last_blocks()
    assert (kept[0].number, kept[-1].number, len(kept)) == (BLOCKS_KEPT + 20, 21, BLOCKS_KEPT)
    assert len(rows.find("Claimed")) == 1


@pytest.mark.parametrize(
    ("final", "to", "number", "known"),
    [
        (7, 9, 9, [3, 6, 9]),
        (7, 8, 7, [3, 6]),
        (7, 7, 7, [3, 6]),
        (7, 5, 5, [3]),
        (7, 2, 2, []),
        (7, -1, -1, []),
        (2, 7, 4, [3]),
    ],
)
def test_reading_goes_on_behind_the_newest_block_that_is_kept_or_final(
    rows: EventRows, final: int, to: int, number: int, known: list[int]
) -> None:
    """Not every block is kept, and none of what is read again may be there already."""
    rows.append([block(4), block(9)], [event(3), event(6), event(9)])
    rows.finalize(final)
    rows.rewind(to)
    assert [each.block.number for each in rows.in_blocks(0, 9)] == known
    assert (rows.last_number(), rows.finalized_number()) == (number, min(number, final))
