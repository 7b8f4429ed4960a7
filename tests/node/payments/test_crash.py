"""Either side of a paid stream killed at every point of its work: nothing is signed twice, no charge is lost."""

import inspect
import random
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from node.payments.mortal_stream import DONE, Live, open_lives
from support.market_world.terms import AUTHORIZER, CHANNEL, CONFIG, DOMAIN, SIGNER, price
from support.tiers import depth

from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.payments import accounts, countersigning, delivery, payer, receipts
from openledger_node.payments import payer_lanes as wallet
from openledger_node.settlement.batcher import ClaimableLane, batch
from openledger_protocol.eip712 import digest_word
from openledger_protocol.payments import receipt_digest, voucher_digest
from openledger_protocol.primitives import BASE_ONLY, Wei
from openledger_protocol.signatures import check_signer

NODE_POINTS = (*accounts.FAIL_POINTS, *delivery.FAIL_POINTS, *receipts.FAIL_POINTS)
PAYER_POINTS = (*wallet.FAIL_POINTS, *payer.FAIL_POINTS, *countersigning.FAIL_POINTS)
KILLED = -signal.SIGKILL

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with open_lives() as opened:
        yield opened


@pytest.mark.parametrize("count", depth(light=[1], deep=[1, 3]))
@pytest.mark.parametrize("point", NODE_POINTS)
def test_a_node_killed_at_a_point_goes_on_from_its_ledger(tmp_path: Path, live: Live, point: str, count: int) -> None:
    node, other = live(tmp_path, "node", point, count)
    assert node == KILLED or (count > 1 and node == DONE)
    assert other == DONE
    assert live(tmp_path, "node", "*", 0) == (DONE, DONE)
    check_books(tmp_path)


@pytest.mark.parametrize("count", depth(light=[1], deep=[1, 3]))
@pytest.mark.parametrize("point", PAYER_POINTS)
def test_a_payer_killed_at_a_point_goes_on_from_its_ledger(
    tmp_path: Path, live: Live, point: str, count: int
) -> None:
    other, payer_ = live(tmp_path, "payer", point, count)
    assert payer_ == KILLED or (count > 1 and payer_ == DONE)
    assert other == DONE
    assert live(tmp_path, "node", "*", 0) == (DONE, DONE)
    check_books(tmp_path)


def test_both_sides_killed_again_and_again_agree_in_the_end(tmp_path: Path, live: Live) -> None:
    deaths, num_killed = random.Random(11), 0
    while num_killed < depth(light=10, deep=200):
        side = deaths.choice(["node", "payer"])
        codes = live(tmp_path, side, "*", deaths.randint(1, 40))
        assert set(codes) <= {DONE, KILLED}
        num_killed += KILLED in codes
    assert live(tmp_path, "node", "*", 0) == (DONE, DONE)
    check_books(tmp_path)


@pytest.mark.parametrize("module", [accounts, delivery, receipts, wallet, payer, countersigning])
def test_each_point_that_is_passed_is_one_that_is_tried(module: ModuleType) -> None:
    passed = re.findall(r"fail_point\(\"([^\"]+)\"\)", inspect.getsource(module))
    assert sorted(set(passed)) == sorted(module.FAIL_POINTS)


# ---- what must hold after any death, once both have lived once more


def check_books(folder: Path) -> None:
    with closing(open_ledger(folder / "node.db")) as node, closing(open_ledger(folder / "payer.db")) as payer_:
        theirs, ours = in_order(node), in_order(payer_)
        check_chain(theirs)
        check_each_signed_once(folder, theirs)
        check_payer(folder, node, payer_, theirs, ours)
        check_claimable_once(node, theirs)


def in_order(ledger: Ledger) -> list[ReceiptRow]:
    return ledger.receipts.newest(limit=10_000)[::-1]


def check_chain(rows: list[ReceiptRow]) -> None:
    """Each receipt is charged once, on the one before it, for what was counted."""
    charged = 0
    for row in rows:
        assert row.receipt.amount_wei == price(row.receipt.work.tokens_in, row.receipt.work.tokens_out)
        charged += row.receipt.amount_wei
        assert row.receipt.cumulative_wei == charged
    assert all(left.receipt.seq < right.receipt.seq for left, right in pairwise(rows))
    requests = [row.receipt.work.request_id for row in rows]
    assert len(set(requests)) == len(requests)


def check_each_signed_once(folder: Path, rows: list[ReceiptRow]) -> None:
    """All that was ever signed stands in the ledger, hence one digest a seq; and all that stands there is signed."""
    signed = set((folder / "node.signed").read_text().split())
    assert signed == {row.digest for row in rows}
    for row in rows:
        assert digest_word(row.digest) == receipt_digest(row.receipt, DOMAIN)
        assert row.signature is not None
        check_signer(digest_word(row.digest), row.signature, SIGNER)


def check_payer(folder: Path, node: Ledger, payer_: Ledger, theirs: list[ReceiptRow], ours: list[ReceiptRow]) -> None:
    """The payer knows of each voucher that is out, agrees on the charge, and countersigned no other receipt."""
    known, claimed = payer_.channels.find(CHANNEL), node.channels.find(CHANNEL)
    assert known is not None
    assert claimed is not None
    assert claimed.charged_wei == theirs[-1].receipt.cumulative_wei <= claimed.ceiling_wei <= known.ceiling_wei
    assert known.charged_wei == claimed.charged_wei
    assert {row.digest for row in ours} <= {row.digest for row in theirs}
    vouchers = [channel.lane(BASE_ONLY).signed_voucher for channel in (known, claimed)]
    for voucher in vouchers:
        assert voucher is not None
        check_signer(voucher_digest(voucher.voucher, DOMAIN), voucher.signature, AUTHORIZER)
    countersigned = set((folder / "payer.signed").read_text().split()) & {row.digest for row in theirs}
    assert {row.digest for row in theirs if row.countersignature} <= countersigned
    assert {row.digest for row in theirs if row.countersignature} <= {row.digest for row in ours}


def check_claimable_once(node: Ledger, rows: list[ReceiptRow]) -> None:
    channel = node.channels.find(CHANNEL)
    assert channel is not None
    voucher = channel.lane(BASE_ONLY).signed_voucher
    assert voucher is not None
    content = batch(
        [
            ClaimableLane(
                channel_id=CHANNEL,
                adapter_id=BASE_ONLY,
                config=CONFIG,
                voucher=voucher,
                left_wei=Wei(10**18),
                claimed_wei=Wei(0),
                earned=tuple(node.receipts.unclaimed()),
            )
        ]
    )
    assert content is not None
    assert [row.digest for row in content.earned] == [row.digest for row in rows]
    assert content.gross_wei == sum(row.receipt.amount_wei for row in rows)
