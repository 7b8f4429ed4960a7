"""Sums that SQL folds are what a reader who goes through every row would find, to the wei."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import append_event

from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.store import open_store
from openledger_protocol.chain import ContractCall, TransactionReceipt
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import ZERO_ADDRESS, Address, Digest, Wei
from openledger_protocol.settlement import EpochClaim
from openledger_protocol.transactions import GasPrice, Intent, Variant

ADA, BEN = Address("0x" + "a" * 40), Address("0x" + "b" * 40)
ACCOUNTS = st.sampled_from([ADA, BEN])
MOST = 2**128 - 1
"""The highest amount of a receipt, which outgrows SQLite's own integers."""

AMOUNTS = st.one_of(st.integers(0, 10), st.integers(0, MOST))


def word(number: int) -> Digest:
    return Digest(f"0x{number:064x}")


CREDITS = st.tuples(ACCOUNTS, ACCOUNTS, st.integers(0, 5), AMOUNTS, st.sampled_from(list(CreditRole)))
CONTRACTS = REWARDS, OTHER = Address("0x" + "c" * 40), Address("0x" + "d" * 40)
WITHDRAWALS = st.tuples(ACCOUNTS, AMOUNTS, st.sampled_from(CONTRACTS))
TRANSACTIONS = st.tuples(ACCOUNTS, st.one_of(st.none(), st.integers(1, 50)), st.integers(0, 2**60))


def append(
    ledger: Ledger, number: int, name: str, *, contract: Address = ZERO_ADDRESS, **arguments: int | str
) -> None:
    append_event(ledger, name, arguments, block=number, contract=contract)


def mine(ledger: Ledger, number: int, sender: Address, mined_s: int | None, gas_price: int) -> None:
    call = ContractCall(to=ZERO_ADDRESS, data=b"")
    id = ledger.outbox.add(Intent(key=str(number), kind="claim", summary="", sender=sender, call=call)).id
    if mined_s is None:
        return
    price = GasPrice(fee_max_wei=Wei(gas_price), tip_max_wei=Wei(0))
    ledger.outbox.reserve(id, nonce=number, gas_limit=100_000)
    ledger.outbox.store(id, Variant(hash=word(number), raw=b"", price=price))
    receipt = TransactionReceipt(
        transaction_hash=word(number),
        block_number=number,
        block_hash=word(number),
        gas_used=90_001,
        gas_price_wei=Wei(gas_price),
        is_ok=number % 2 == 0,
    )
    ledger.outbox.mark_mined(id, receipt, mined_s=mined_s, error=None)


@settings(max_examples=40, deadline=None)
@given(st.lists(CREDITS, max_size=12), st.lists(WITHDRAWALS, max_size=6), st.lists(TRANSACTIONS, max_size=12))
def test_credits_and_withdrawals_are_those_of_the_events_with_the_time_of_our_own_transaction(
    credits: list[tuple[Address, Address, int, int, CreditRole]],
    withdrawals: list[tuple[Address, int, Address]],
    transactions: list[tuple[Address, int | None, int]],
) -> None:
    with TemporaryDirectory() as folder, closing(open_ledger(Path(folder) / "ledger.db")) as ledger:
        for number, (account, node, seq, amount, role) in enumerate(credits):
            append(ledger, number, "Credited", account=account, node=node, seq=seq, amount=amount, role=int(role))
        for number, (account, amount, contract) in enumerate(withdrawals, start=len(credits)):
            append(ledger, number, "Withdrawn", contract=contract, account=account, to=BEN, amount=amount)
        for number, transaction in enumerate(transactions):
            mine(ledger, number, *transaction)
        mined = {found.mined_hash: found.mined_s for found in ledger.outbox.newest(limit=100) if found.mined_hash}

        found = ledger.sums.credits(ADA)
        naive = ledger.events.find("Credited", {"account": ADA, "node": ADA})
        naive = [event for event in naive if event.arguments["role"] == CreditRole.NODE]
        assert [(each.amount_wei, each.seq, each.block_number, each.transaction_hash) for each in found] == [
            (event.arguments["amount"], event.arguments["seq"], event.block.number, event.transaction_hash)
            for event in naive
        ]
        assert [each.mined_s for each in found] == [mined.get(event.transaction_hash) for event in naive]

        taken = ledger.sums.withdrawals(ADA, REWARDS)
        events = [event for event in ledger.events.find("Withdrawn", {"account": ADA}) if event.contract == REWARDS]
        assert events == ledger.events.find("Withdrawn", {"account": ADA}, contract=REWARDS)
        assert [each.amount_wei for each in taken] == [event.arguments["amount"] for event in events]
        assert [each.mined_s for each in taken] == [mined.get(event.transaction_hash) for event in events]


@settings(max_examples=40, deadline=None)
@given(st.lists(TRANSACTIONS, max_size=20), st.integers(0, 50))
def test_gas_is_the_fees_of_the_senders_mined_transactions(
    transactions: list[tuple[Address, int | None, int]], since_s: int
) -> None:
    with TemporaryDirectory() as folder, closing(open_ledger(Path(folder) / "ledger.db")) as ledger:
        for number, transaction in enumerate(transactions):
            mine(ledger, number, *transaction)
        kept = [found for found in ledger.outbox.newest(limit=100) if found.intent.sender == ADA and found.fee_wei]
        assert ledger.sums.gas_wei(ADA) == sum(found.fee_wei or 0 for found in kept)
        later = [found for found in kept if (found.mined_s or 0) >= since_s]
        assert ledger.sums.gas_wei(ADA, since_s=since_s) == sum(found.fee_wei or 0 for found in later)
        everybody = (found.fee_wei or 0 for found in ledger.outbox.newest(limit=100))
        assert ledger.sums.money(ADA).fees_wei == sum(everybody)


def test_the_events_of_claims_are_those_of_one_node_from_a_number_on_and_the_hashes_those_of_mined_claims(
    tmp_path: Path,
) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        for number, (name, node, seq) in enumerate(
            [
                ("Claimed", ADA, 1),
                ("Claimed", BEN, 2),
                ("Claimed", ADA, 2),
                ("Credited", ADA, 2),
                ("Proposed", ADA, 2),
            ]
        ):
            append(ledger, number, name, node=node, seq=seq)
        found = ledger.events.about_claims(ADA, seq_min=2)
        assert [(event.name, event.block.number) for event in found] == [("Claimed", 2), ("Proposed", 4)]

        for number in range(3):
            claim = EpochClaim(node=ADA, seq=number, epoch=1, items_hash=word(1))
            ledger.claims.add(str(number), claim, [], gross_wei=Wei(1), now_s=1)
        for number in range(2):
            mine(ledger, number, ADA, 1, 1)
        assert ledger.claims.mined_hashes() == {"0": word(0), "1": word(1)}
        assert ledger.claims.mined_hashes(limit=2) == {"1": word(1)}
        assert len(ledger.claims.newest()) == 3


# ---- amounts that outgrow the integers of SQLite


def paid(file: Path, amounts: dict[int, int]) -> Ledger:
    """A ledger in which Ada has paid Ben for receipts at these times."""
    with closing(open_store(file, is_writer=True)) as store, store.transaction() as transaction:
        transaction.execute("INSERT INTO job VALUES ('r1', 1, 'x', NULL, NULL, 'running', 1, 2, NULL, NULL, 3, 4)")
        transaction.execute("INSERT INTO channel VALUES ('c', ?, ?, '{}', 0, 0)", (ADA, BEN))
        transaction.execute("INSERT INTO lane VALUES ('c', 'a', '0', NULL, '0')")
        transaction.executemany(
            "INSERT INTO receipt (digest, channel_id, adapter_id, seq, issued_at_s, request_id, body, shares,"
            " amount_wei) VALUES (?, 'c', 'a', ?, ?, 'r1', '{}', '[]', ?)",
            [(f"0x{at_s:064x}", at_s, at_s, str(amount)) for at_s, amount in amounts.items()],
        )
    return open_ledger(file)


def test_amounts_are_summed_to_the_wei(tmp_path: Path) -> None:
    amounts = {1: MOST, 86_399: 1, 86_400: 7}
    with closing(paid(tmp_path / "ledger.db", amounts)) as ledger:
        days = ledger.sums.spent_by_day(ADA)
        assert [(each.day, each.num_answers, each.amount_wei) for each in days] == [(0, 2, 2**128), (1, 1, 7)]
        assert [each.amount_wei for each in ledger.sums.spent_by_day(ADA, since_s=2)] == [1, 7]
        assert ledger.sums.spent_by_day(BEN) == []
        assert [each.amount_wei for each in ledger.sums.bought(ADA)] == list(amounts.values())
        assert ledger.sums.unclaimed(BEN).amount_wei == 2**128 + 7
    amounts = {at_s: MOST - at_s for at_s in range(1, 1_001)}
    with closing(paid(tmp_path / "other.db", amounts)) as ledger:
        (day,) = ledger.sums.spent_by_day(ADA)
        assert day.amount_wei == ledger.sums.unclaimed(BEN).amount_wei == sum(amounts.values()), "no sum is a float"
