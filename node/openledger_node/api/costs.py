"""Costs of requests: held on the caller's account before the work, settled after it, and told to the caller."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import trio

from openledger_protocol.inference import InferenceRequest
from openledger_protocol.primitives import ZERO_WEI, Wei

from ..access.budget import Granted, PayingAccount
from ..market.router import RemoteRequest, Router
from ..serving.admission import Admitted
from ..serving.service import Outcome

TOKENS_MAX: Final = 2**31
"""More tokens than any answer has: the ledger keeps 64-bit integers, and a request may name any number."""

COST_HEADER: Final = "x-openledger-cost-wei"

BILL_S: Final = 5.0
"""An answer does not wait longer for its cost, such as while the disk is full."""


class Bill:
    """The cost of one answer to its caller, known as soon as the ledger has settled it."""

    def __init__(self, cost_wei: Wei | None = None) -> None:
        self.cost_wei = cost_wei  # None: not known, or not yet
        self._is_written = trio.Event()
        if cost_wei is not None:
            self._is_written.set()

    def write(self, cost_wei: Wei | None) -> None:
        """Tell the cost; None: the ledger could not be read."""
        self.cost_wei = cost_wei
        self._is_written.set()

    @property
    def is_written(self) -> bool:
        """True once the cost is known, or is known to stay unknown."""
        return self._is_written.is_set()

    async def read(self) -> Wei | None:
        """Wait for the cost; None if it is not known in time."""
        with trio.move_on_after(BILL_S):
            await self._is_written.wait()
        return self.cost_wei


def cost_fields(costs_wei: Sequence[Wei | None]) -> dict[str, str | None]:
    """The field of `usage` with the cost of a request's answers together.

    It is not named `cost`, which OpenRouter has in dollars and programs show so.
    """
    known = [wei for wei in costs_wei if wei is not None]
    return {"cost_wei": str(sum(known)) if len(known) == len(costs_wei) else None}


def cost_headers(answer: Mapping[str, Any]) -> dict[str, str]:
    """The header with the cost of a whole answer, which the body has in `usage`; none if it is not known."""
    cost_wei = answer["usage"]["cost_wei"]
    return {} if cost_wei is None else {COST_HEADER: cost_wei}


async def hold_cost(
    router: Router, account: PayingAccount, admitted: Admitted | RemoteRequest, *, shares: int
) -> Admitted | RemoteRequest:
    """Hold the most that an admitted request can use, and limit it to what was granted.

    `shares` are the answers to the same question that still need their part of the budget, this one included.

    Raises:
        OverloadedError: the account has no budget for it now.
    """
    request = admitted.request
    is_here = isinstance(admitted, Admitted)
    prompt_ids = admitted.prompt_ids if isinstance(admitted, Admitted) else await router.prompt_ids(request)
    num_prompt = len(prompt_ids)
    granted = await account.hold(
        request.request_id,
        most_wei=ZERO_WEI if is_here else router.request_max_wei,
        is_bought=not is_here,
        least_wei=ZERO_WEI if isinstance(admitted, Admitted) else router.least_wei(admitted, num_prompt),
        most_tokens=num_prompt + min(request.sampling.max_tokens, TOKENS_MAX),
        least_tokens=num_prompt + 1,
        shares=shares,
    )
    try:
        return _limited(admitted, granted, num_prompt)
    except BaseException:
        await release_costs(account, [request])
        raise


def _limited(admitted: Admitted | RemoteRequest, granted: Granted, num_prompt: int) -> Admitted | RemoteRequest:
    """The request with what was granted as its limits."""
    request = admitted.request
    if granted.tokens is not None:
        max_tokens = min(request.sampling.max_tokens, granted.tokens - num_prompt)
        request = replace(request, sampling=replace(request.sampling, max_tokens=max_tokens))
    if isinstance(admitted, Admitted):
        return replace(admitted, request=request)
    requested = replace(admitted.requested, request=request, budget_wei=granted.wei)
    return replace(admitted, request=request, requested=requested)


async def release_costs(account: PayingAccount, requests: Sequence[InferenceRequest]) -> None:
    """Settle requests that will not run at nothing."""
    with trio.CancelScope(shield=True):
        for request in requests:
            await account.settle(request.request_id, spent_wei=ZERO_WEI, tokens=0)


async def answer_and_bill(
    router: Router,
    admitted: Admitted | RemoteRequest,
    send: "trio.MemorySendChannel[Outcome]",
    account: PayingAccount | None,
    bill: Bill,
) -> None:
    """Answer a request, settle what the ledger says it has used, and write the bill, however it ends.

    If the ledger can't be written, the row stays open: it still holds its budget, and the next start settles it.
    Without an account the request is the owner's, who pays what other nodes charge.
    """
    request_id = admitted.request.request_id
    cost_wei: Wei | None = None
    try:
        await router.handle(admitted, send)
    finally:
        with trio.CancelScope(shield=True):
            try:
                cost_wei, tokens = await router.used(request_id)
                if account:
                    charged_wei = await account.settle(request_id, spent_wei=cost_wei, tokens=tokens)
                    cost_wei = cost_wei if charged_wei is None else charged_wei
            except BaseException as error:
                if account:
                    account.abandon(error)  # an x402 payer's channel takes no other request until then
                raise
            finally:
                bill.write(cost_wei)
