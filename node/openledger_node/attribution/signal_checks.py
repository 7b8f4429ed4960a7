"""Checks of a receipt by poa-v3: its shares against the signals it commits to, and these against a replay.

The first needs the adapter's index, and is exact. The second needs base, adapter and a backend with taps. It runs the
answer's tokens once more, so it also shows whether the adapter was used at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from openledger_protocol.attribution import Share
from openledger_protocol.errors import AttributionError, UnavailableError
from openledger_protocol.opening import Opening
from openledger_protocol.primitives import Digest
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.signals import Signals, are_shares_close, check_replay, signals_from_bytes

from ..engine.backend import Profile
from ..engine.profile_hash import why_incomparable
from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..models.adapters import Adapter
from .attributor import Exchange
from .registry import Registered
from .service import exchange_of, open_attributor, registered_shares

NO_SIGNALS = "the receipt came late, without the signals that its shares were computed from"
NO_REPLAY = (
    "the signals were not computed again, because that takes a running node that serves this base with the backend "
    "torch_lora: `openledger-node start` there, and run this again"
)


class NotCheckedError(NodeError):
    """A part of a receipt can't be checked here; the message says why."""


class WrongSharesError(Exception):
    """A receipt says something that a check has found to be false."""


class ReplaySource(Protocol):
    """An engine, as far as attribution needs to know it."""

    @property
    def has_taps(self) -> bool:
        """True if its backend hands out what signals are made of."""

    @property
    def profile(self) -> Profile | None:
        """Its profile; None until it has started for the first time."""

    def replay(
        self, adapter: Adapter, prompt_ids: tuple[int, ...], answer_ids: tuple[int, ...]
    ) -> Mapping[Digest, bytes]:
        """Run an answer's tokens once more, and return their signals by root of a Datanet's rows; may take seconds.

        Raises:
            UnavailableError: the engine can't just now.
        """


def exchange_with_signals(opening: Opening, registered: Registered, tokenizer: Tokenizer) -> Exchange:
    """The exchange of an opening, with the signals that came with its receipt."""
    exchange = exchange_of(opening.messages, opening.text, tokenizer)
    given = dict(opening.signals)
    found = {each.index.rows_root: given[each.id] for each in registered.owned if each.id in given}
    return replace(exchange, signals=found)


def check_shares_follow(
    shares: Sequence[Share], opening: Opening, registered: Registered, tokenizer: Tokenizer
) -> None:
    """Require that shares are exactly those that poa-v3 gives for the texts and the signals of an opening.

    Raises:
        NotCheckedError: the opening has no signals.
        WrongSharesError: they are others.
    """
    if not opening.signals:
        raise NotCheckedError(NO_SIGNALS)
    expected = registered_shares(
        open_attributor(SIGNALS_RULE), registered, exchange_with_signals(opening, registered, tokenizer)
    )
    if tuple(expected) != tuple(shares):
        raise WrongSharesError("the shares are not those that poa-v3 gives for these texts and signals")


def check_signals_replay(
    shares: Sequence[Share],
    opening: Opening,
    told_profile: Digest,
    adapter: Adapter,
    registered: Registered,
    tokenizer: Tokenizer,
    source: ReplaySource | None,
) -> str:
    """Require that signals and shares are those of a replay, up to rounding, and say what agreed.

    `told_profile`: the profile hash of the receipt. The bounds were measured between number formats of the same
    weights. Against other weights a replay can agree, but a difference shows nothing.

    Raises:
        NotCheckedError: nothing here can replay the answer, or it differs and was made with other weights.
        WrongSharesError: a signal points elsewhere, or the shares differ by more than 5 %.
    """
    if source is None or not source.has_taps:
        raise NotCheckedError(NO_REPLAY)
    if not registered.has_signals:
        raise NotCheckedError(f"{adapter.full_name} has no index of signals here, so they were not computed again")
    prompt_ids = tokenizer.render(opening.messages, opening.tooling)
    if opening.prefix:
        prompt_ids += tokenizer.encode(opening.prefix)
    try:
        replayed = {
            root: signals_from_bytes(content)
            for root, content in source.replay(adapter, prompt_ids, opening.ids).items()
        }
    except UnavailableError as error:
        raise NotCheckedError(f"the signals were not computed again: {error.message}") from error
    try:
        _compare(exchange_with_signals(opening, registered, tokenizer).signals, replayed)
        exchange = replace(exchange_of(opening.messages, opening.text, tokenizer), signals=replayed)
        if not are_shares_close(shares, registered_shares(open_attributor(SIGNALS_RULE), registered, exchange)):
            raise WrongSharesError("the shares differ from those of a replay by more than 5 %")
    except WrongSharesError as error:
        if why := why_incomparable(adapter.manifest.base.digest, told_profile, source.profile):
            raise NotCheckedError(
                f"a replay differs ({error}), but {why}: run this again on a node with the seller's settings"
            ) from error
        raise
    return "the answer was run once more: its signals agree within a cosine of 0.99, its shares within 5 %"


def _compare(claimed: Mapping[Digest, Signals], replayed: Mapping[Digest, Signals]) -> None:
    for root, signals in claimed.items():
        if root not in replayed:
            raise NotCheckedError("the adapter's index here has no signals of one of its Datanets")
        try:
            check_replay(signals, replayed[root])
        except AttributionError as error:
            raise WrongSharesError(error.message) from error
