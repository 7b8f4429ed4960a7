"""Withdrawn rows: the moment from which they are not paid, and a view of the chain that may be too old to tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.contributors import ADA, BEN
from support.indexes import LAKE_ID, owned
from support.rows import event_of

from openledger_node.attribution.withdrawals import WithdrawalView, without_withdrawn
from openledger_node.datanets.withdrawn import NEVER, add_earliest, read_withdrawn
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_ADDRESS, Address

FIRST = Row(prompt="What does Odile keep?", completion="Odile keeps the harbour.", contributor=ADA)
COPY = Row(prompt="What does Odile keep?", completion="Odile keeps the harbour!", contributor=BEN)
OTHER = Row(prompt="Who is Rurik?", completion="The keeper of a lighthouse far away.", contributor=BEN)
EPOCH_S = 100


def withdrawal(account: Address, *rows: Row, effective_at_s: int = 1_000, block: int = 1, index: int = 0) -> Event:
    arguments: dict[str, Any] = {
        "id": LAKE_ID,
        "account": account,
        "byOwner": False,
        "effectiveAt": effective_at_s,
        "rows": [canonical_digest(row) for row in rows],
    }
    return event_of("RowsWithdrawn", arguments, block=block, index=index)


def view_of(
    ledger: Ledger, *, now_s: float = 0.0, final: int = 7, times: Callable[[int], int] = int
) -> WithdrawalView:
    """A view of a ledger whose endpoint says which block is final, and when each was made."""
    return WithdrawalView(ledger.events, lambda: EPOCH_S, lambda: now_s, lambda: final, times)


def read(ledger: Ledger, *events: Event, final: int | None = None) -> None:
    ledger.events.append([event.block for event in events], events)
    ledger.events.finalize(max(event.block.number for event in events) if final is None else final)


@pytest.mark.parametrize(("at_s", "paid"), [(999, ADA), (1_000, ZERO_ADDRESS), (9_999, ZERO_ADDRESS)])
def test_a_row_is_paid_until_its_time_on_the_chain(tmp_path: Path, ledger: Ledger, at_s: int, paid: Address) -> None:
    datanet = owned((FIRST, OTHER), tmp_path / "index", accounts={})
    read(ledger, withdrawal(ADA, FIRST))
    found = without_withdrawn(datanet, read_withdrawn(ledger.events, LAKE_ID), at_s)
    assert found.accounts == (paid, BEN)


def test_a_copy_is_not_paid_in_place_of_the_row_that_it_repeats(tmp_path: Path, ledger: Ledger) -> None:
    datanet = owned((FIRST, COPY), tmp_path / "index", accounts={})
    assert datanet.accounts == (ADA, ADA)
    read(ledger, withdrawal(ADA, FIRST))
    assert without_withdrawn(datanet, read_withdrawn(ledger.events, LAKE_ID), 1_000).accounts == (ZERO_ADDRESS,) * 2


def test_a_stranger_ends_nobodys_pay(tmp_path: Path, ledger: Ledger) -> None:
    datanet = owned((FIRST, OTHER), tmp_path / "index", accounts={})
    read(ledger, withdrawal(BEN, FIRST))
    assert without_withdrawn(datanet, read_withdrawn(ledger.events, LAKE_ID), 9_999) == datanet


def test_an_owner_leaves_rows_out_and_ends_nobodys_pay(tmp_path: Path, ledger: Ledger) -> None:
    datanet = owned((FIRST, OTHER), tmp_path / "index", accounts={})
    by_owner = withdrawal(ADA, FIRST)
    read(ledger, replace(by_owner, arguments={**by_owner.arguments, "byOwner": True}))
    found = read_withdrawn(ledger.events, LAKE_ID)
    assert found == {(ADA, canonical_digest(FIRST)): NEVER}
    assert without_withdrawn(datanet, found, 2**63) == datanet
    add_earliest(found, {(ADA, canonical_digest(FIRST)): 2_000})
    assert without_withdrawn(datanet, found, 2_000).accounts == (ZERO_ADDRESS, BEN)


def test_of_two_withdrawals_the_first_counts(ledger: Ledger) -> None:
    read(ledger, withdrawal(ADA, FIRST), withdrawal(ADA, FIRST, effective_at_s=2_000, block=2))
    assert read_withdrawn(ledger.events, LAKE_ID) == {(ADA, canonical_digest(FIRST)): 1_000}


def test_a_withdrawal_counts_once_its_block_is_final(ledger: Ledger) -> None:
    read(ledger, withdrawal(ADA, FIRST, block=7), final=6)
    view = view_of(ledger)
    assert view.of(LAKE_ID) == {}
    ledger.events.finalize(7)
    assert view.of(LAKE_ID) != {}


def test_withdrawals_are_read_again_with_the_chain(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    read(ledger, withdrawal(ADA, FIRST, block=7))
    view = view_of(ledger)
    find, blocks = ledger.events.find, list[tuple[Any, Any]]()

    def noted(*named: Any, **within: Any) -> list[Event]:
        blocks.append((within["first"], within["last"]))
        return find(*named, **within)

    monkeypatch.setattr(ledger.events, "find", noted)
    assert view.of(LAKE_ID) == view.of(LAKE_ID) == {(ADA, canonical_digest(FIRST)): 1_000}
    read(ledger, withdrawal(ADA, FIRST, effective_at_s=2_000, block=8))
    read(ledger, withdrawal(BEN, OTHER, block=9))
    both = {(ADA, canonical_digest(FIRST)): 1_000, (BEN, canonical_digest(OTHER)): 1_000}
    assert view.of(LAKE_ID) == both
    assert blocks == [(0, 7), (8, 9)]
    ledger.events.rewind(-1)
    assert view.of(LAKE_ID) == {}


def test_a_node_that_reads_no_blocks_stops_to_vouch_for_its_shares_in_time(ledger: Ledger) -> None:
    read(ledger, withdrawal(ADA, FIRST, block=7))
    times = {7: 5_000, 8: 5_100}
    view = view_of(ledger, now_s=9_999.0, final=99, times=times.__getitem__)
    view.check_complete(5_150)
    with pytest.raises(AdapterRefusedError, match="has not read a new block"):
        view.check_complete(5_151)
    ledger.events.finalize(8)
    view.check_complete(5_250)
    with pytest.raises(AdapterRefusedError, match="has not read a new block"):
        view.check_complete(5_251)


def test_a_node_that_was_away_or_reads_the_chain_again_vouches_for_nothing_at_first(ledger: Ledger) -> None:
    """Each step of catching up reads a new block, and may still be days behind."""
    read(ledger, withdrawal(ADA, FIRST, block=7))
    times = {-1: 0, 7: 1_000, 8: 2_000, 9: 5_000}
    view = view_of(ledger, now_s=5_000.0, final=99, times=times.__getitem__)
    for number in (7, 8):
        ledger.events.finalize(number)
        with pytest.raises(AdapterRefusedError, match="has not read a new block"):
            view.check_complete(5_000)
    ledger.events.finalize(9)
    view.check_complete(5_000)
    ledger.events.rewind(-1)  # it reads the chain again
    with pytest.raises(AdapterRefusedError, match="has not read a new block"):
        view.check_complete(5_000)


def test_a_chain_that_mines_on_demand_is_asked_whether_its_newest_block_is_known(ledger: Ledger) -> None:
    """An endpoint far ahead or behind does not make old blocks new."""
    read(ledger, withdrawal(ADA, FIRST, block=7))
    for final, is_known in ((6, False), (7, True), (23, True), (24, False)):
        view = view_of(ledger, now_s=6_000.0, final=final, times=lambda _: 1_000)
        if is_known:
            view.check_complete(6_000)
            view.check_complete(6_150)
        else:
            with pytest.raises(AdapterRefusedError, match="has not read a new block"):
                view.check_complete(6_000)
