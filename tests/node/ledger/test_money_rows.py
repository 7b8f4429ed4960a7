"""Channels, receipts and claims as rows: nothing falls, nothing is given out twice, nothing is in two claims."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.signed import CHANNEL, CONFIG, NODE, PAYER, PAYMENTS, WORK, account, digest

from openledger_node.ledger.jobs import DuplicateJobError, Job
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.receipts import Draft, ReceiptRow
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.payments import ChannelConfig, Receipt, SignedVoucher, Voucher, channel_id, receipt_digest
from openledger_protocol.primitives import BASE_ONLY, ChannelId, Nonce, RequestId, Salt, Wei
from openledger_protocol.settlement import EpochClaim

DAY_NS = 86_400 * 10**9
OTHER_CONFIG = replace(CONFIG, salt=Salt(digest("6")), payer=account(7))
OTHER = channel_id(OTHER_CONFIG, PAYMENTS)


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with closing(open_ledger(file)) as opened:
        add_channels(opened)
        yield opened


def add_channels(ledger: Ledger) -> None:
    for key, config in ((CHANNEL, CONFIG), (OTHER, OTHER_CONFIG)):
        ledger.channels.ensure(key, config, now_ns=1)


def commit(
    ledger: Ledger, amount: int, *, channel: ChannelId = CHANNEL, now_ns: int = 1, secured: int = 0
) -> ReceiptRow:
    def build(seq: int, cumulative_wei: Wei) -> Receipt:
        return Receipt(
            channel_id=channel,
            seq=seq,
            adapter_id=BASE_ONLY,
            amount_wei=Wei(amount),
            cumulative_wei=cumulative_wei,
            algo_id=1,
            flags=1,
            nonce_commit=digest("0"),
            shares_hash=digest("0"),
            work=WORK,
        )

    draft = Draft(
        build=build,
        digest=lambda receipt: hex_digest(receipt_digest(receipt, PAYMENTS)),
        channel_id=channel,
        amount_wei=Wei(amount),
        shares=(),
        secured_wei=Wei(secured),
        opening=b"sealed",
    )
    return ledger.receipts.commit(draft, now_ns=now_ns)


def claim_of(seq: int, rows: list[ReceiptRow]) -> EpochClaim:
    return EpochClaim(node=NODE, seq=seq, epoch=1, items_hash=digest("1"), receipts_root=digest("2"), count=len(rows))


def add_claim(ledger: Ledger, rows: list[ReceiptRow], *, seq: int = 0) -> int:
    digests = [row.digest for row in rows]
    return ledger.claims.add(f"claim {seq}", claim_of(seq, rows), digests, gross_wei=Wei(1), now_s=1).claim_id


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 10**30), st.sampled_from([CHANNEL, OTHER]))))
def test_whatever_the_clock_says_seq_rises_and_each_receipt_is_charged_on_the_one_before(
    drawn: list[tuple[int, int, ChannelId]],
) -> None:
    with TemporaryDirectory() as folder, closing(open_ledger(Path(folder) / "ledger.db")) as ledger:
        add_channels(ledger)
        last, charged = 0, {CHANNEL: 0, OTHER: 0}
        for now_ns, amount, channel in drawn:
            receipt = commit(ledger, amount, channel=channel, now_ns=now_ns).receipt
            charged[channel] += amount
            assert receipt.seq == max(last + 1, now_ns)
            assert receipt.cumulative_wei == charged[channel]
            last = receipt.seq
        found = {channel.channel_id: channel.charged_wei for channel in ledger.channels.all()}
        assert found == charged


@pytest.mark.parametrize("ceilings", [(5, 3, 5, 9, 1), (1, 2, 3), (2**127, 7)])
def test_a_ceiling_never_falls_and_keeps_the_signature_that_made_it(
    ledger: Ledger, ceilings: tuple[int, ...]
) -> None:
    for ceiling in ceilings:
        voucher = Voucher(channel_id=CHANNEL, max_claimable_wei=Wei(ceiling))
        ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b"%d" % ceiling))
    row = ledger.channels.find(CHANNEL)
    assert row is not None
    assert (row.ceiling_wei, row.voucher) == (max(ceilings), b"%d" % max(ceilings))


def test_a_charge_never_falls(ledger: Ledger) -> None:
    for cumulative in (9, 10, 3):
        ledger.channels.charge(CHANNEL, Wei(cumulative))
    row = ledger.channels.find(CHANNEL)
    assert row is not None
    assert row.charged_wei == 10


def test_a_receipt_is_unsigned_until_its_signature_is_kept(ledger: Ledger) -> None:
    row = commit(ledger, 5)
    assert ledger.receipts.unsigned() == [row]
    ledger.receipts.sign(row.digest, b"signature")
    assert ledger.receipts.unsigned() == []


def test_the_first_countersignature_stays(ledger: Ledger) -> None:
    row = commit(ledger, 5)
    for name in ("1", "2"):
        ledger.receipts.countersign(row.digest, name.encode(), Nonce(digest(name)))
    (found,) = ledger.receipts.newest(limit=9)
    assert (found.countersignature, found.nonce) == (b"1", digest("1"))


@pytest.mark.parametrize(
    ("amounts", "secured", "unsecured"),
    [((5, 5), 10, [0, 0]), ((5, 5), 7, [0, 3]), ((5, 5), 3, [2, 5]), ((5, 5), 0, [5, 5]), ((0, 5), 4, [0, 1])],
)
def test_what_no_deposit_covers_is_counted_once(
    ledger: Ledger, amounts: tuple[int, ...], secured: int, unsecured: list[int]
) -> None:
    assert [commit(ledger, amount, secured=secured).unsecured_wei for amount in amounts] == unsecured


def test_a_claim_holds_its_receipts_with_the_nonces_of_that_time(ledger: Ledger) -> None:
    early, late = commit(ledger, 1), commit(ledger, 2)
    ledger.receipts.countersign(early.digest, b"c", Nonce(digest("1")))
    claim_id = add_claim(ledger, [early, late])
    ledger.receipts.countersign(late.digest, b"c", Nonce(digest("2")))
    assert ledger.receipts.unclaimed() == []
    assert [row.nonce for row in ledger.receipts.of_claim(claim_id)] == [digest("1"), None]


def test_a_refused_claims_receipts_are_free_for_the_next(ledger: Ledger) -> None:
    rows = [commit(ledger, 1), commit(ledger, 2)]
    first = add_claim(ledger, rows)
    ledger.claims.move(first, "refused")
    assert [row.digest for row in ledger.receipts.unclaimed()] == [row.digest for row in rows]
    second = add_claim(ledger, rows, seq=1)
    assert {row.claim_id for row in ledger.receipts.newest(limit=9)} == {second}
    assert len(ledger.receipts.of_claim(first)) == 2  # what it held stays known


def test_a_skipped_channel_leaves_its_claim_unpaid_and_its_texts_kept(ledger: Ledger) -> None:
    paid, skipped = commit(ledger, 5), commit(ledger, 7, channel=OTHER)
    claim_id = add_claim(ledger, [paid, skipped])
    ledger.receipts.release(claim_id, OTHER)
    ledger.receipts.secure(claim_id)
    ledger.receipts.forget_openings(claim_id)
    (left,) = ledger.receipts.unclaimed()
    assert (left.digest, left.unsecured_wei, left.opening) == (skipped.digest, 7, b"sealed")


def test_a_job_of_an_id_that_was_used_is_told_apart_from_our_mistakes(ledger: Ledger) -> None:
    job = Job(
        request_id=RequestId("r"),
        received_ns=1,
        base="fake",
        adapter_id=None,
        adapter_name=None,
        state="running",
        tokens_in=1,
    )
    ledger.jobs.start(job)
    with pytest.raises(DuplicateJobError, match="request id r was used before"):
        ledger.jobs.start(job)


def test_a_channel_is_the_config_that_was_heard_first(ledger: Ledger) -> None:
    again: ChannelConfig = ledger.channels.ensure(CHANNEL, CONFIG, now_ns=99).config
    assert again == CONFIG
    assert [channel.channel_id for channel in ledger.channels.of_payer(PAYER)] == [CHANNEL]


def test_sums_are_over_what_this_node_wrote_and_each_receipt_is_in_one_state(ledger: Ledger) -> None:
    rows = [commit(ledger, 10**20 + number, now_ns=number + 1) for number in range(5)]
    for row in rows[1:]:
        ledger.receipts.sign(row.digest, b"signature")
    add_claim(ledger, rows[3:])
    bought = replace(CONFIG, node=account(9))
    other = channel_id(bought, PAYMENTS)
    ledger.channels.ensure(other, bought, now_ns=1)
    commit(ledger, 7, channel=other, now_ns=99)  # another node's word to us
    sums = ledger.sums.money(NODE)
    assert sums.num_receipts == {"unsigned": 1, "unclaimed": 2, "claimed": 2}
    assert sums.unclaimed_wei == sum(row.receipt.amount_wei for row in rows[:3])
    assert sums.num_claims == {"sent": 1}
    assert (sums.num_transactions, sums.num_replacements, sums.fees_wei) == ({}, 0, 0)
