"""Costs of requests: held on the caller's account before the work, and settled after it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from openledger_protocol.inference import InferenceRequest
from openledger_protocol.primitives import ZERO_WEI

from ..access.budget import PayingAccount
from ..market.router import RemoteRequest, Router
from ..serving.admission import Admitted
from ..serving.service import Outcome

TOKENS_MAX: Final = 2**31
"""More tokens than any answer has: the ledger keeps 64-bit integers, and a request may name any number."""


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
        most_tokens=num_prompt + min(request.sampling.max_tokens, TOKENS_MAX),
        least_tokens=num_prompt + 1,
        shares=shares,
    )
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


async def answer_and_settle(
    router: Router,
    admitted: Admitted | RemoteRequest,
    send: "trio.MemorySendChannel[Outcome]",
    account: PayingAccount,
) -> None:
    """Answer a request, and settle with its account what the ledger says it has used, however it ended.

    If the ledger can't be written, the row stays open: it still holds its budget, and the next start settles it.
    """
    request_id = admitted.request.request_id
    try:
        await router.handle(admitted, send)
    finally:
        with trio.CancelScope(shield=True):
            spent_wei, tokens = await router.used(request_id)
            await account.settle(request_id, spent_wei=spent_wei, tokens=tokens)
