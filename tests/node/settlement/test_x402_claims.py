"""x402's charges become OPEN of the node's wallet, by claims on a chain with channels of x402's interface."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.x402_world import DELAY_S, X402World, open_x402_world

from openledger_node.chain.x402 import X402Contract, X402State
from openledger_node.config import Config, GatewayConfig
from openledger_node.ledger.ledger import open_ledger
from openledger_node.ledger.x402_channels import LOST_S, X402Charge
from openledger_node.settlement.x402_claims import AGE_MAX_S, KIND, X402Claims
from openledger_protocol.primitives import RequestId, Wei
from openledger_protocol.x402 import X402Channel

THRESHOLD_WEI = 1_000
CONFIG = replace(Config(), gateway=GatewayConfig(x402_claim_wei=THRESHOLD_WEI))


@pytest.fixture
def x402(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[X402World]:
    with open_x402_world(tmp_path, monkeypatch, config=CONFIG) as opened:
        yield opened


def charge(x402: X402World, channel: X402Channel, wei: int, *, number: int = 0) -> None:
    """Charge one answer, as an account does when the answer is ready."""
    rows = x402.world.node.ledger.x402
    row = rows.find(x402.id_of(channel))
    before = row.charged_wei if row else 0
    rows.charge(
        X402Charge(
            request_id=RequestId(f"0x{int(channel.salt, 16) * 1_000 + before + number:064x}"),
            voucher=x402.voucher(channel, before + wei + 5),
            channel=channel,
            before_wei=Wei(before),
            charged_wei=Wei(wei),
            cost_wei=Wei(0),
            now_s=x402.world.chain.client.head().timestamp_s,
        )
    )


def balance(x402: X402World) -> int:
    return int(x402.world.chain.read("OpenToken", "balanceOf", x402.world.node.accounts.wallet))


def claims_of(x402: X402World) -> list[str]:
    found = x402.world.node.ledger.outbox.newest(limit=50)
    return [each.state for each in found if each.intent.kind == KIND]


def settle(x402: X402World, times: int = 8) -> None:
    for _ in range(times):
        x402.world.settle(2)


def test_a_sum_over_the_threshold_is_claimed_from_all_channels_at_once(x402: X402World) -> None:
    before = balance(x402)
    for number, wei in ((1, 400), (2, 700)):
        x402.deposit(x402.channel(number), 10_000)
        charge(x402, x402.channel(number), wei)
    settle(x402)
    assert balance(x402) == before + 1_100
    assert len(claims_of(x402)) == 1
    settle(x402, 4)
    assert x402.world.node.ledger.x402.income_wei()[:2] == (1_100, 0)
    assert len(claims_of(x402)) == 1, "nothing is claimed twice"


def test_a_small_sum_waits_for_the_day_or_the_owner(x402: X402World) -> None:
    x402.deposit(x402.channel(), 10_000)
    charge(x402, x402.channel(), 10)
    settle(x402)
    assert claims_of(x402) == []
    x402.world.node.x402_claims.hurry()
    settle(x402)
    assert len(claims_of(x402)) == 1
    charge(x402, x402.channel(), 10)
    x402.world.chain.client.advance(AGE_MAX_S)
    settle(x402)
    assert len(claims_of(x402)) == 2


def test_a_withdrawal_is_noticed_and_the_charge_claimed_before_it_ends(x402: X402World) -> None:
    channel, before = x402.channel(), balance(x402)
    x402.deposit(channel, 10_000)
    charge(x402, channel, 300)
    settle(x402)
    assert x402.call("initiateWithdraw", channel, 10_000)
    for _ in range(6):
        x402.world.chain.client.advance(DELAY_S // 8)
        x402.world.settle()
    assert balance(x402) == before + 300
    x402.world.chain.client.advance(DELAY_S)
    assert x402.call("finalizeWithdraw", channel)
    assert x402.world.node.x402_claims.alerts == ()


def test_what_a_payer_withdrew_while_the_node_was_off_is_told(x402: X402World) -> None:
    channel = x402.channel()
    x402.deposit(channel, 10_000)
    charge(x402, channel, 300)
    assert x402.call("initiateWithdraw", channel, 9_800)
    x402.world.chain.client.advance(DELAY_S)
    assert x402.call("finalizeWithdraw", channel)
    before = balance(x402)
    x402.world.node.x402_claims.hurry()
    settle(x402)
    assert balance(x402) == before + 200, "what is left is claimed"
    (alert,) = x402.world.node.x402_claims.alerts
    assert "0.0000000000000001 OPEN" in alert
    assert alert in x402.world.node.alerts


def test_a_channel_that_a_lagging_endpoint_does_not_know_yet_is_claimed_later(
    x402: X402World, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, before = x402.channel(), balance(x402)
    x402.deposit(channel, 10_000)
    charge(x402, channel, 300)
    with monkeypatch.context() as lagging:
        lagging.setattr(X402Contract, "state", lambda *_: X402State())
        x402.world.node.x402_claims.hurry()
        settle(x402)
    assert claims_of(x402) == []
    x402.world.chain.client.advance(DELAY_S)
    settle(x402)
    assert x402.world.node.x402_claims.alerts == ()
    assert x402.world.node.ledger.x402.income_wei()[1] == 300
    x402.world.node.x402_claims.hurry()
    settle(x402)
    assert balance(x402) == before + 300


def test_a_charge_that_stays_lost_is_given_up_and_found_again_after_a_deposit(x402: X402World) -> None:
    rows, channel = x402.world.node.ledger.x402, x402.channel()
    x402.deposit(channel, 10_000)
    charge(x402, channel, 300)
    since_s = rows.unclaimed()[0].unclaimed_since_s
    seen: dict[str, Any] = {"claimed_wei": Wei(0), "withdraw_since_s": 0}
    rows.sync(x402.id_of(channel), balance_wei=Wei(0), now_s=since_s + LOST_S - 1, **seen)
    assert len(rows.unclaimed()) == 1
    rows.sync(x402.id_of(channel), balance_wei=Wei(0), now_s=since_s + LOST_S, **seen)
    assert rows.unclaimed() == []
    rows.sync(x402.id_of(channel), balance_wei=Wei(500), now_s=since_s + LOST_S + 9, **seen)
    (row,) = rows.unclaimed()
    assert (row.unclaimed_wei, row.unclaimed_since_s) == (300, since_s + LOST_S + 9)


def test_small_sums_that_are_not_worth_their_gas_do_not_read_the_chain_at_each_step(
    x402: X402World, monkeypatch: pytest.MonkeyPatch
) -> None:
    x402.deposit(x402.channel(), 10_000)
    charge(x402, x402.channel(), 10)
    settle(x402)
    num_reads, read = 0, X402Contract.state

    def count(contract: X402Contract, channel_id: Any) -> X402State:
        nonlocal num_reads
        num_reads += 1
        return read(contract, channel_id)

    monkeypatch.setattr(X402Contract, "state", count)
    monkeypatch.setattr(X402Claims, "_is_worth_gas", lambda *_: False)
    x402.world.chain.client.advance(AGE_MAX_S)
    settle(x402)
    assert num_reads <= 2
    assert claims_of(x402) == []


def test_the_owner_is_told_what_only_an_earlier_signer_can_claim(x402: X402World) -> None:
    earlier = replace(x402.channel(), receiver_authorizer=x402.channel().payer)
    charge(x402, earlier, 2_000)
    settle(x402)
    (alert,) = x402.world.node.x402_claims.alerts
    assert f"earlier signer of this node only, such as {earlier.receiver_authorizer}" in alert
    assert claims_of(x402) == []


def test_a_refused_batch_is_claimed_channel_by_channel(x402: X402World) -> None:
    good, bad = x402.channel(1), x402.channel(2)
    before = balance(x402)
    for channel in (good, bad):
        x402.deposit(channel, 10_000)
        charge(x402, channel, 900)
    store = x402.world.node.ledger.x402._store
    with store.transaction() as transaction:  # a signature that the contract refuses
        transaction.execute(
            "UPDATE x402_channel SET signature = ? WHERE channel_id = ?", (bytes(65), x402.id_of(bad))
        )
    settle(x402, 40)
    assert balance(x402) == before + 900
    assert "refused" in claims_of(x402)
    assert len(claims_of(x402)) <= 6, "a refused claim is not repeated at each step"


def test_charges_are_on_disk_at_once_and_never_shrink(tmp_path: Path, x402: X402World) -> None:
    channel = x402.channel()
    x402.deposit(channel, 10_000)
    charge(x402, channel, 300)
    with closing(open_ledger(tmp_path / "node.db", is_writer=False)) as again:
        row = again.x402.find(x402.id_of(channel))
        assert row is not None
        assert (row.charged_wei, row.signed_wei, row.channel) == (300, 305, channel)
    stale = X402Charge(
        request_id=RequestId("0x" + "f" * 64),
        voucher=x402.voucher(channel, 200),
        channel=channel,
        before_wei=Wei(100),
        charged_wei=Wei(50),
        cost_wei=Wei(0),
        now_s=1,
    )
    with pytest.raises(AssertionError, match="follow"):
        x402.world.node.ledger.x402.charge(stale)
    with pytest.raises(AssertionError, match="covered"):
        x402.world.node.ledger.x402.charge(replace(stale, before_wei=Wei(300)))
    assert x402.world.node.ledger.x402.income_wei()[0] == 300
