"""x402's payments: what a payer is charged, and what a hostile payer or facilitator gets."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from support.signed import CHANNEL, CONFIG
from support.x402_payers import PAYER, STRANGER, SUPPORTED, Payer, other_channel, other_terms

from openledger_node.access.budget import PayingAccount
from openledger_node.chain.x402 import X402State
from openledger_node.errors import ChainError, LedgerError
from openledger_node.ledger.bought import OpenPurchase
from openledger_node.ledger.key_credits import RequestWork
from openledger_node.ledger.ledger import open_ledger
from openledger_node.payments.x402_account import X402Account
from openledger_protocol.errors import MalformedError, PaymentRequiredError, UnavailableError
from openledger_protocol.payments import SignedVoucher, Voucher
from openledger_protocol.primitives import BASE_ONLY, ZERO_ADDRESS, RequestId, Wei
from openledger_protocol.x402 import header_from_plain, x402_payment_from_header

MOST = 10 * 1 + 20 * 4  # 10 tokens of a prompt and at most 20 of an answer, at 1,000 and 4,000 wei for 1,000


@pytest.fixture
async def payer(tmp_path: Path) -> Any:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        made = Payer(ledger)
        assert await made.gateway.offer()
        made.fund(5_000)
        yield made


def request_id(number: int) -> RequestId:
    return RequestId(f"0x{number:064x}")


def work(monkeypatch: pytest.MonkeyPatch, payer: Payer, tokens_out: int, *, cost_wei: int = 0) -> None:
    """Let the ledger have this much work on every request."""
    done = RequestWork(tokens_in=10 if tokens_out else 0, tokens_out=tokens_out, cost_wei=Wei(cost_wei))
    monkeypatch.setattr(payer.ledger.key_credits, "final_work", lambda _: done)


async def ask(account: X402Account, *, number: int = 1, most_wei: int = 0, shares: int = 1) -> None:
    await account.hold(request_id(number), most_wei=Wei(most_wei), most_tokens=30, least_tokens=11, shares=shares)


async def answer(account: X402Account, *, number: int = 1, is_error: bool = False) -> dict[str, Any] | None:
    """Hold, answer and conclude."""
    await ask(account, number=number)
    await account.settle(request_id(number), spent_wei=Wei(0), tokens=0)
    return await account.conclude(is_error=is_error)


def account_of(payer: Payer, ceiling_wei: int | None, **options: Any) -> X402Account:
    payment = None if ceiling_wei is None else payer.pay(ceiling_wei, **options)
    return X402Account(payer.gateway, payment, url="http://node/v1/completions")


async def refusal_of(payer: Payer, ceiling_wei: int, **options: Any) -> dict[str, Any]:
    account = account_of(payer, ceiling_wei, **options)
    with pytest.raises(PaymentRequiredError):
        await ask(account)
    assert await account.conclude(is_error=True) is None
    assert account.required is not None
    return account.required


async def test_a_request_without_payment_gets_terms_at_its_own_price(payer: Payer) -> None:
    account = account_of(payer, None)
    with pytest.raises(PaymentRequiredError, match="at most"):
        await ask(account)
    assert account.required is not None
    assert account.required["error"] == "PAYMENT-SIGNATURE header is required"
    (accepts,) = account.required["accepts"]
    assert (accepts["scheme"], accepts["network"], accepts["amount"]) == (
        "batch-settlement",
        "eip155:31337",
        str(MOST),
    )
    assert accepts["extra"]["assetTransferMethod"] == "permit2"
    assert "eip2612GasSponsoring" in account.required["extensions"]
    bought = account_of(payer, None)
    with pytest.raises(PaymentRequiredError):
        await ask(bought, most_wei=1_000)
    assert bought.required is not None
    assert bought.required["accepts"][0]["amount"] == "1100", "the most of a bought answer, with the margin"


async def test_an_answer_is_charged_by_its_tokens_and_the_next_voucher_builds_on_that(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)
    told = await answer(account_of(payer, MOST))
    assert told is not None
    assert (told["success"], told["transaction"], told["amount"], told["payer"]) == (True, "", "", PAYER)
    assert told["extra"]["chargedAmount"] == "30"
    assert told["extra"]["channelState"] == {
        "channelId": payer.id,
        "balance": "5000",
        "totalClaimed": "0",
        "withdrawRequestedAt": 0,
        "refundNonce": "0",
        "chargedCumulativeAmount": "30",
    }
    row = payer.ledger.x402.find(payer.id)
    assert row is not None
    assert (row.charged_wei, row.signed_wei, row.unclaimed_wei) == (30, MOST, 30)
    told = await answer(account_of(payer, 30 + MOST), number=2)
    assert told is not None
    assert told["extra"]["channelState"]["chargedCumulativeAmount"] == "60"


async def test_a_bought_answer_that_may_cost_nothing_is_charged_by_its_cost(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5, cost_wei=0)
    account: PayingAccount = account_of(payer, 1)
    granted = await account.hold(
        request_id(1), most_wei=Wei(0), most_tokens=30, least_tokens=11, is_bought=True, least_wei=Wei(7)
    )
    assert granted.wei == 0
    assert await account.settle(request_id(1), spent_wei=Wei(0), tokens=15) == 0


async def test_the_answer_can_say_the_charge_before_it_is_written(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5, cost_wei=7)
    account = account_of(payer, MOST)
    await ask(account)
    assert await account.settle(request_id(1), spent_wei=Wei(7), tokens=15) == 30
    told = await account.conclude(is_error=False)
    assert told is not None
    assert told["extra"]["chargedAmount"] == "30"


async def test_a_charge_is_never_more_than_the_payer_was_told(payer: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch, payer, 5_000)
    told = await answer(account_of(payer, MOST))
    assert told is not None
    assert told["extra"]["chargedAmount"] == str(MOST)


async def test_an_error_costs_nothing_and_the_same_voucher_pays_again(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5, cost_wei=7)
    assert await answer(account_of(payer, MOST), is_error=True) is None
    assert payer.ledger.x402.income_wei() == (0, 0, 7), "the owner's cost is kept"
    assert await answer(account_of(payer, MOST), number=2) is not None


async def test_a_bought_answer_that_failed_costs_what_was_delivered(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 0, cost_wei=500)
    account = account_of(payer, 1_100)
    await ask(account, most_wei=1_000)
    await account.settle(request_id(1), spent_wei=Wei(500), tokens=0)
    told = await account.conclude(is_error=True)
    assert told is not None
    assert told["extra"]["chargedAmount"] == "550", "with the margin, as a prepaid key pays it"
    assert payer.ledger.x402.income_wei() == (550, 550, 500)


async def test_a_seller_that_left_before_its_first_chunk_costs_that_chunk(payer: Payer) -> None:
    ledger = payer.ledger
    ledger.channels.ensure(CHANNEL, CONFIG, now_ns=1)
    voucher = Voucher(channel_id=CHANNEL, adapter_id=BASE_ONLY, max_claimable_wei=Wei(40))
    ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b""))
    ledger.purchases.put(
        OpenPurchase(
            request_id=request_id(1), channel_id=CHANNEL, adapter_id=BASE_ONLY, most_wei=Wei(1_000), agreed={}
        )
    )
    account = account_of(payer, 1_100)
    await ask(account, most_wei=1_000)
    await account.settle(request_id(1), spent_wei=Wei(0), tokens=0)
    told = await account.conclude(is_error=True)
    assert told is not None
    assert told["extra"]["chargedAmount"] == "44", "with the margin"


async def test_a_replayed_voucher_pays_nothing_and_the_payer_finds_back(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)
    await answer(account_of(payer, MOST))
    required = await refusal_of(payer, MOST)
    assert required["error"] == "invalid_batch_settlement_evm_cumulative_amount_mismatch"
    extra = required["accepts"][0]["extra"]
    assert extra["channelState"]["chargedCumulativeAmount"] == "30"
    assert extra["voucherState"]["signedMaxClaimable"] == str(MOST)
    assert extra["voucherState"]["signature"] == "0x" + payer.pay(MOST).voucher.signature.hex()


async def test_after_a_restore_the_chain_is_what_both_sides_go_by(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)
    await answer(account_of(payer, MOST))
    payer.fund(5_000, claimed_wei=Wei(2_000))  # claimed by what this ledger has forgotten
    payer.now_s += 100
    extra = (await refusal_of(payer, 30 + MOST))["accepts"][0]["extra"]
    assert "voucherState" not in extra
    assert extra["channelState"]["totalClaimed"] == "2000"
    assert await answer(account_of(payer, 2_000 + MOST), number=2) is not None


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("voucher_signature", {"key": b"\x32" * 32}),
    ("voucher_signature", {"maxClaimableAmount": str(MOST), "signature": "0x" + "11" * 64 + "1b"}),
    ("voucher_signature", {"channel": other_channel(payer_authorizer=ZERO_ADDRESS)}),
    ("receiver_mismatch", {"channel": other_channel(receiver=STRANGER)}),
    ("receiver_authorizer_mismatch", {"channel": other_channel(receiver_authorizer=STRANGER)}),
    ("token_mismatch", {"channel": other_channel(token=STRANGER)}),
    ("withdraw_delay_mismatch", {"channel": other_channel(withdraw_delay_s=901)}),
    ("network_mismatch", {"terms": other_terms(chain_id=1)}),
    ("channel_id_mismatch", {"channelId": "0x" + "1" * 64}),
    ("payload_type", {"kind": "refund"}),
    ("channel_not_found", {"channel": other_channel(salt="0x" + "6" * 64)}),
]


@pytest.mark.parametrize(("code", "options"), HOSTILE, ids=[f"{code}-{i}" for i, (code, _) in enumerate(HOSTILE)])
async def test_a_payment_that_does_not_fit_is_refused(payer: Payer, code: str, options: dict[str, Any]) -> None:
    required = await refusal_of(payer, MOST, **options)
    assert required["error"] == f"invalid_batch_settlement_evm_{code}"
    assert payer.ledger.x402.all(limit=9) == []


async def test_a_voucher_of_another_chain_with_our_chains_name_is_refused(payer: Payer) -> None:
    payment = payer.pay(MOST, terms=other_terms(chain_id=1))
    plain = json.loads(base64.b64decode(payer.header(MOST, terms=other_terms(chain_id=1))))
    plain["accepted"]["network"] = "eip155:31337"
    account = X402Account(payer.gateway, x402_payment_from_header(header_from_plain(plain)), url="")
    with pytest.raises(PaymentRequiredError, match="not those of its id"):
        await ask(account)
    assert payment.voucher.channel_id != payer.id


async def test_a_lower_or_higher_ceiling_is_refused(payer: Payer) -> None:
    for ceiling_wei in (MOST - 1, MOST + 1):
        required = await refusal_of(payer, ceiling_wei)
        assert required["error"].endswith("cumulative_amount_mismatch")


@pytest.mark.parametrize(
    "state",
    [
        {"balance_wei": MOST - 1},
        {"balance_wei": 5_000, "withdraw_wei": Wei(5_000), "withdraw_since_s": 990},
        {"balance_wei": 5_000, "withdraw_wei": Wei(4_950), "withdraw_since_s": 990},
    ],
    ids=["too little", "all withdrawn", "most withdrawn"],
)
async def test_an_unfunded_or_withdrawing_channel_pays_nothing(payer: Payer, state: dict[str, Any]) -> None:
    payer.fund(**state)
    assert (await refusal_of(payer, MOST))["error"].endswith("cumulative_exceeds_balance")


async def test_two_requests_at_once_cannot_spend_the_same_amount(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)
    first = account_of(payer, MOST)
    await ask(first)
    assert (await refusal_of(payer, MOST))["error"].endswith("channel_busy")
    await first.settle(request_id(1), spent_wei=Wei(0), tokens=0)
    assert (await refusal_of(payer, MOST))["error"].endswith("channel_busy"), "the response has not ended"
    await first.conclude(is_error=False)
    assert (await refusal_of(payer, MOST))["error"].endswith("cumulative_amount_mismatch")
    assert await answer(account_of(payer, 30 + MOST), number=2) is not None


async def test_whichever_ends_last_writes_the_charge_once(payer: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch, payer, 5)
    account = account_of(payer, MOST)
    await ask(account)
    async with trio.open_nursery() as nursery:
        told: list[Any] = []

        async def conclude() -> None:
            told.append(await account.conclude(is_error=False))

        nursery.start_soon(conclude)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [], "the answer waits for its charge"
        await account.settle(request_id(1), spent_wei=Wei(0), tokens=0)
    assert told[0]["extra"]["chargedAmount"] == "30"
    assert payer.ledger.x402.income_wei()[0] == 30


async def test_an_answer_whose_charge_cannot_be_written_does_not_leave(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)

    def fail(_: Any) -> None:
        raise ChainError("the disk is full")

    monkeypatch.setattr(payer.ledger.x402, "charge", fail)
    account = account_of(payer, MOST)
    await ask(account)
    await account.settle(request_id(1), spent_wei=Wei(0), tokens=0)
    with pytest.raises(LedgerError, match="the disk is full"):
        await account.conclude(is_error=False)
    monkeypatch.undo()
    work(monkeypatch, payer, 5)
    assert await answer(account_of(payer, MOST), number=2) is not None, "the channel is free again"


async def test_several_answers_to_one_request_are_refused(payer: Payer) -> None:
    with pytest.raises(MalformedError, match="one answer"):
        await ask(account_of(payer, MOST), shares=2)


async def test_the_chain_is_asked_once_a_minute(payer: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch, payer, 5)
    await answer(account_of(payer, MOST))
    await answer(account_of(payer, 30 + MOST), number=2)
    assert payer.contract.num_reads == 1
    payer.now_s += 60
    await answer(account_of(payer, 60 + MOST), number=3)
    assert payer.contract.num_reads == 2
    payer.contract.error = ChainError("it is away")
    payer.now_s += 60
    with pytest.raises(UnavailableError, match="it is away"):
        await ask(account_of(payer, 90 + MOST))


# ---- Deposits


GOOD = {
    "/verify": {"isValid": True, "payer": PAYER},
    "/settle": {"success": True, "transaction": "0xabc", "network": "eip155:31337", "amount": "5000"},
}


async def test_a_deposit_is_made_before_the_answer(payer: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch, payer, 5)
    payer.contract.states.clear()
    payer.answers |= GOOD
    payer.on_settle = lambda: payer.fund(5_000)
    told = await answer(account_of(payer, MOST, kind="deposit"))
    assert told is not None
    assert (told["transaction"], told["amount"], told["extra"]["chargedAmount"]) == ("0xabc", "5000", "30")
    assert told["extra"]["channelState"]["balance"] == "5000"
    paths = [path for path, _ in payer.asked]
    assert paths == ["/supported", "/verify", "/settle"]
    body = payer.asked[-1][1]
    assert (body["x402Version"], body["paymentRequirements"]["amount"]) == (2, str(MOST))
    assert body["paymentPayload"]["payload"]["type"] == "deposit"


async def test_a_deposit_is_told_also_if_the_answer_failed(payer: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch, payer, 0)
    payer.answers |= GOOD
    told = await answer(account_of(payer, MOST, kind="deposit"), is_error=True)
    assert told is not None
    assert (told["transaction"], told["extra"]["chargedAmount"]) == ("0xabc", "0")


async def test_a_deposit_for_the_wrong_amount_is_not_sent(payer: Payer) -> None:
    payer.answers |= GOOD
    await refusal_of(payer, MOST + 1, kind="deposit")
    assert [path for path, _ in payer.asked] == ["/supported"]


LIES: list[tuple[str, dict[str, Any]]] = [
    ("it says that it deposited", GOOD),
    ("it refuses the payload", {"/verify": {"isValid": False, "invalidReason": "insufficient\x1b[2J"}}),
    ("it fails to send it", {**GOOD, "/settle": {"success": False, "errorReason": "reverted"}}),
    ("a true that is none", {"/verify": {"isValid": "true"}}),
]


@pytest.mark.parametrize("answers", [each[1] for each in LIES], ids=[each[0] for each in LIES])
async def test_a_facilitator_that_lies_or_refuses_gives_no_credit(
    payer: Payer, answers: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    payer.contract.states.clear()
    payer.answers |= answers
    required = await refusal_of(payer, MOST, kind="deposit")
    assert required["error"].endswith(("deposit_transaction_failed", "channel_not_found"))
    assert payer.ledger.x402.all(limit=1) == []


DOWN: list[tuple[str, Any]] = [
    ("down", httpx.ConnectError("refused")),
    ("an error page", httpx.Response(502, text="<html>")),
    ("a list", httpx.Response(200, json=[])),
    ("a flood", httpx.Response(200, content=b"[" * (2 << 20))),
]


@pytest.mark.parametrize("broken", [each[1] for each in DOWN], ids=[each[0] for each in DOWN])
async def test_a_facilitator_that_is_down_refuses_deposits_and_vouchers_still_pay(
    payer: Payer, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)
    payer.answers["/verify"] = broken
    with pytest.raises(UnavailableError, match="facilitator"):
        await ask(account_of(payer, MOST, kind="deposit"))
    assert await answer(account_of(payer, MOST)) is not None


class Trickle(httpx.AsyncByteStream):
    """An answer that never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await trio.sleep(30)


async def test_a_facilitator_that_answers_byte_by_byte_is_given_up(
    payer: Payer, autojump_clock: trio.testing.MockClock
) -> None:
    payer.answers["/verify"] = httpx.Response(200, stream=Trickle())
    with pytest.raises(UnavailableError, match="has not answered /verify in 120 s"):
        await ask(account_of(payer, MOST, kind="deposit"))


async def test_each_look_without_a_facilitator_closes_its_connection_to_the_chain(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "other.db")) as ledger:
        made = Payer(ledger, answers={"/supported": httpx.ConnectError("refused")})
        for number in (1, 2):
            assert not await made.gateway.offer()
            assert made.contract.num_closed == number
        made.answers["/supported"] = SUPPORTED
        assert await made.gateway.offer()
        assert made.contract.num_closed == 2


async def test_a_deposit_that_was_sent_before_is_not_needed_again(
    payer: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(monkeypatch, payer, 5)
    payer.answers["/verify"] = {"isValid": False, "invalidReason": "nonce used"}
    told = await answer(account_of(payer, MOST, kind="deposit"))
    assert told is not None
    assert (told["transaction"], told["amount"]) == ("", "")


@pytest.mark.parametrize(
    ("supported", "why"),
    [
        ({"kinds": []}, "does not support"),
        ({"kinds": [{"x402Version": 2, "scheme": "exact", "network": "eip155:31337"}]}, "does not support"),
        ({"kinds": "all"}, "does not support"),
        (httpx.ConnectError("refused"), "does not answer"),
    ],
)
async def test_terms_are_offered_only_with_a_facilitator_for_this_chain(
    tmp_path: Path, supported: Any, why: str
) -> None:
    with closing(open_ledger(tmp_path / "other.db")) as ledger:
        made = Payer(ledger, answers={"/supported": supported})
        assert not await made.gateway.offer()
        assert made.gateway.terms is None
        assert why in (made.gateway.why_not or "")


def test_states_of_the_chain_keep_what_is_withdrawn_from_vouchers() -> None:
    state = X402State(balance_wei=Wei(100), withdraw_wei=Wei(30), withdraw_since_s=1)
    assert (state.free_wei, X402State(withdraw_wei=Wei(5)).free_wei) == (70, 0)
