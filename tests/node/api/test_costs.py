"""Costs of requests: every kind of account is asked by the same call, before the work and after it."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from support.x402_payers import PRICES, Payer

from openledger_node.access.budget import KeyAccount, PayingAccount
from openledger_node.access.keys import ApiKey
from openledger_node.access.prepaid import PrepaidAccount
from openledger_node.api.costs import Bill, answer_and_bill, hold_cost
from openledger_node.errors import LedgerError
from openledger_node.ledger.key_credits import KeyCredit
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.market.request import NetworkRequest
from openledger_node.market.router import RemoteRequest, Router
from openledger_node.payments.x402_account import X402Account
from openledger_node.serving.admission import Admitted
from openledger_protocol.inference import InferenceRequest, SamplingParams
from openledger_protocol.primitives import BASE_ONLY, Digest, RequestId, Wei

REQUEST = InferenceRequest(
    request_id=RequestId("0x" + "1" * 64),
    model="m",
    prompt="hello",
    sampling=SamplingParams(max_tokens=20, seed=1),
)
HERE = Admitted(request=REQUEST, prompt_ids=tuple(range(10)), adapter=None)
REMOTE = RemoteRequest(
    request=REQUEST, requested=NetworkRequest(request=REQUEST, base=Digest("0x" + "2" * 64), adapter=BASE_ONLY)
)
MOST = {"here": 10 * 1 + 20 * 4, "remote": 1_100}
"""What a payer signs: for this machine by tokens, for the network by the owner's limit with the margin."""


@dataclass
class AskedRouter:
    """Answers nothing, and knows what a request may cost."""

    ledger: Ledger
    request_max_wei: Wei

    async def prompt_ids(self, _: InferenceRequest) -> tuple[int, ...]:
        return tuple(range(10))

    def least_wei(self, *_: Any) -> Wei:
        return Wei(7)

    async def handle(self, *_: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def used(self, request_id: RequestId) -> tuple[Wei, int]:
        return self.ledger.key_uses.used(request_id)


def named(payer: Payer, _: int) -> PayingAccount:
    key = ApiKey(name="anna", digest="0" * 64, created_s=1, day_max_wei=Wei(5_000), day_tokens_max=5_000)
    return KeyAccount(key, payer.ledger.key_uses, lambda: 1)


def prepaid(payer: Payer, most_wei: int) -> PayingAccount:
    payer.ledger.key_credits.add(KeyCredit(key="anna", added_s=1, amount_wei=Wei(5_000), note=""))
    return PrepaidAccount(named(payer, most_wei), payer.ledger.key_credits, lambda: PRICES, lambda: 1)


def x402(payer: Payer, most_wei: int) -> PayingAccount:
    return X402Account(payer.gateway, payer.pay(most_wei), url="")


@pytest.mark.parametrize("place", ["here", "remote"])
@pytest.mark.parametrize("account_of", [named, prepaid, x402])
async def test_every_account_holds_and_settles_a_request(
    tmp_path: Path, account_of: Callable[[Payer, int], PayingAccount], place: str
) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        payer = Payer(ledger)
        assert await payer.gateway.offer()
        payer.fund(5_000)
        account, router = account_of(payer, MOST[place]), cast(Router, AskedRouter(ledger, Wei(1_000)))
        admitted = await hold_cost(router, account, HERE if place == "here" else REMOTE, shares=1)
        if isinstance(admitted, RemoteRequest):
            assert admitted.requested.budget_wei == 1_000
        bill, (send, _) = Bill(), trio.open_memory_channel[Any](0)
        await answer_and_bill(router, admitted, send, account, bill)
        assert await bill.read() == 0, "no work was done"


class FullDiskRouter(AskedRouter):
    """Its ledger can't be read."""

    async def used(self, request_id: RequestId) -> tuple[Wei, int]:
        raise LedgerError("the disk is full")


async def test_a_request_that_cannot_be_settled_leaves_the_payers_channel_free(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        payer = Payer(ledger)
        assert await payer.gateway.offer()
        payer.fund(5_000)
        account, router = x402(payer, MOST["here"]), cast(Router, FullDiskRouter(ledger, Wei(1_000)))
        assert isinstance(account, X402Account)
        admitted = await hold_cost(router, account, HERE, shares=1)
        bill, (send, _) = Bill(), trio.open_memory_channel[Any](0)
        with pytest.raises(LedgerError):
            await answer_and_bill(router, admitted, send, account, bill)
        with trio.fail_after(5), pytest.raises(LedgerError, match="the disk is full"):
            await account.conclude(is_error=False)
        await hold_cost(router, x402(payer, MOST["here"]), HERE, shares=1)


async def test_a_hold_that_cannot_become_a_request_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a limit that no request may have")

    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        payer = Payer(ledger)
        assert await payer.gateway.offer()
        payer.fund(5_000)
        account, router = x402(payer, MOST["here"]), cast(Router, AskedRouter(ledger, Wei(1_000)))
        assert isinstance(account, X402Account)
        monkeypatch.setattr("openledger_node.api.costs._limited", fail)
        with pytest.raises(ValueError, match="a limit"):
            await hold_cost(router, account, HERE, shares=1)
        with trio.fail_after(5):
            assert await account.conclude(is_error=True) is None
