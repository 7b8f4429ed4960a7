"""Accounts: what pays for a request of a named key, and refuses it when a day's budget is used up."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import trio

from openledger_protocol.primitives import ZERO_WEI, RequestId, Wei

from ..ledger.key_uses import DayUse, KeyUses, day_of
from .keys import ApiKey
from .quota import HeldError, QuotaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The most that a request may use. A limit that is None does not limit it."""

    wei: Wei | None = None
    tokens: int | None = None


class PayingAccount(Protocol):
    """The thing that pays for a request."""

    @property
    def name(self) -> str:
        """The key's name."""

    async def hold(
        self,
        request_id: RequestId,
        *,
        most_wei: Wei,
        most_tokens: int,
        least_tokens: int = 1,
        shares: int = 1,
        is_bought: bool | None = None,
        least_wei: Wei = ZERO_WEI,
    ) -> Granted:
        """Reserve money and tokens for a request, durably, before any work on it.

        `least_tokens` is what makes an answer possible at all, and less than `most_tokens` may be granted. `shares`
        answers to one question, this one included, divide the rest. `is_bought` tells an answer of the network from
        one of this machine, whose `most_wei` is 0; None: it is bought if it may cost something. `least_wei` is what
        the cheapest offer charges.

        Raises:
            QuotaError: the budget is used up.
            HeldError: running requests hold the rest of it.
        """

    async def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> Wei | None:
        """Record what a request has used, and release the rest of what was held. A second call changes nothing.

        Returns what the caller is charged, or None if that is `spent_wei`.
        """

    def abandon(self, error: BaseException) -> None:
        """Note that a request can't be settled now, so that nothing waits for its charge. Its rows stay open."""


class KeyAccount:
    """The account of one named key: limits per UTC day, over rows in the ledger."""

    def __init__(self, key: ApiKey, uses: KeyUses, now_s: Callable[[], int]) -> None:
        self._key = key
        self._uses = uses
        self._now_s = now_s

    @property
    def name(self) -> str:
        """The key's name."""
        return self._key.name

    async def hold(
        self,
        request_id: RequestId,
        *,
        most_wei: Wei,
        most_tokens: int,
        least_tokens: int = 1,
        shares: int = 1,
        is_bought: bool | None = None,
        least_wei: Wei = ZERO_WEI,
    ) -> Granted:
        """See `PayingAccount`. A request counts on the day on which it began."""
        now_s = self._now_s()

        def choose(use: DayUse) -> tuple[Wei, int]:
            granted = grant(
                self._key,
                use,
                most_wei=most_wei,
                most_tokens=most_tokens,
                least_tokens=least_tokens,
                shares=shares,
                least_wei=least_wei,
            )
            wei = most_wei if granted.wei is None else granted.wei
            return wei, most_tokens if granted.tokens is None else granted.tokens

        hold = partial(
            self._uses.hold,
            request_id,
            self._key.name,
            day=day_of(now_s),
            now_s=now_s,
            choose=choose,
            is_bought=most_wei > 0 if is_bought is None else is_bought,
        )
        wei, tokens = await trio.to_thread.run_sync(hold)
        return Granted(
            wei=None if self._key.day_max_wei is None else wei,
            tokens=None if self._key.day_tokens_max is None else tokens,
        )

    async def settle(self, request_id: RequestId, *, spent_wei: Wei, tokens: int) -> None:
        """See `PayingAccount`."""
        await trio.to_thread.run_sync(lambda: self._uses.settle(request_id, spent_wei=spent_wei, tokens=tokens))

    def abandon(self, error: BaseException) -> None:
        """See `PayingAccount`. Nothing waits for it."""


def grant(
    key: ApiKey,
    use: DayUse,
    *,
    most_wei: Wei,
    most_tokens: int,
    least_tokens: int,
    shares: int = 1,
    least_wei: Wei = ZERO_WEI,
) -> Granted:
    """Decide what a request may use of what the day has left.

    Raises:
        QuotaError: the budget is used up.
        HeldError: running requests hold the rest of it.
    """
    wei, tokens = key.day_max_wei, key.day_tokens_max
    if tokens is not None:
        left, least = tokens - use.tokens, least_tokens * shares
        _check(
            left >= least, f"{max(0, left)} of its {tokens} tokens are left, and this request takes {least} or more"
        )
        _check_free(left - use.held_tokens >= least)
        tokens = min(most_tokens, (left - use.held_tokens) // shares)
    if wei is not None and most_wei > 0:
        # If the owner's own limit is below every offer, the refusal of the network tells the reason.
        left, need = wei - use.spent_wei, max(1, min(least_wei, most_wei)) * shares
        _check(
            left >= need,
            f"{max(0, left)} of its {wei} wei for bought answers are left, and this request costs {need} or more",
        )
        _check_free(left - use.held_wei >= need)
        wei = Wei(min(most_wei, (left - use.held_wei) // shares))
    elif wei is not None:
        wei = ZERO_WEI
    return Granted(wei=wei, tokens=tokens)


def _check(is_left: bool, what: str) -> None:
    if not is_left:
        raise QuotaError(
            f"the daily budget of this API key is used up ({what}): it is renewed at 00:00 UTC, and the node's "
            "owner can raise it"
        )


def _check_free(is_free: bool) -> None:
    if not is_free:
        raise HeldError(
            "running requests of this API key hold the rest of its daily budget: try again when one has ended"
        )
