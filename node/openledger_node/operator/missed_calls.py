"""Demand that this node missed: what was asked for, what would have won, and the one command that changes it.

Calls are other nodes' words. Only those of callers with a bond or a payment behind them lead to a command.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openledger_protocol.auction import EXPLORE_ONE_IN, NEWCOMER_ANSWERS
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest

from ..market.overview import MarketView, Priced, rank_of
from ..market.unserved import Unserved, Winning
from ..text import counted, rfc3339
from .idle_reasons import UNDERCUT_PERCENT, Suggestion, amount

PROGRAM: Final = "openledger-node"
CONTEXT_STEP: Final = 1_024
ID_DIGITS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The facts of this node that decide which change would help."""

    now_s: float  # since 1970
    base: Digest
    base_name: str
    context_max: int
    queue_max: int
    registered: Collection[AdapterId]  # of the adapters asked for, those that the chain knows
    bases: Mapping[Digest, str] = field(default_factory=dict)  # on the disk
    answers: Mapping[Address, int] = field(default_factory=dict)  # paid ones, by payer


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedCalls:
    """Calls of one kind that went unserved in the last day, in words."""

    model: str
    adapter_id: AdapterId
    cause: str
    is_proven: bool  # somebody with a bond or a payment made them, and the chain knows the adapter
    calls: int
    callers: int
    since: str  # RFC 3339
    last: str
    tokens_in: int  # of the largest prompt
    tokens_out: int  # the longest answer allowed
    wins: str
    cli: str | None


def missed_calls(view: MarketView, node: NodeFacts) -> list[MissedCalls]:
    """Explain the unserved calls, those that lead to a change first."""
    rows = [_explain(each, view, node) for each in view.unserved]
    return sorted(rows, key=lambda row: (not row.is_proven, row.cli is None))


def best_change(rows: Sequence[MissedCalls]) -> Suggestion | None:
    """The change that most proven callers would have needed; None if there is no proven demand."""
    row = next((row for row in rows if row.is_proven and row.cli), None)
    if row is None or row.cli is None:
        return None
    says = f"answer calls for {row.model}: {counted(row.calls, 'call')} of the last day wanted {row.wins}"
    return Suggestion(says=says, cli=row.cli)


def standing_to_plain(view: MarketView, node: NodeFacts) -> dict[str, Any]:
    """This node's place in its market for JSON: the rank of its price, and how far buyers trust it yet."""
    asked = view.most_asked()
    counts = node.answers.values()
    return {
        "model": asked.name if asked else None,
        "rank": rank_of(asked.own_wei, asked.others_wei) if asked else None,
        "tied": asked.others_wei.count(asked.own_wei) if asked else None,
        "offers": len(asked.others_wei) + 1 if asked else None,
        "answers": sum(counts),
        "buyers": len(node.answers),
        "proven_buyers": sum(count >= NEWCOMER_ANSWERS for count in counts),
        "proven_after": NEWCOMER_ANSWERS,
        "answers_left": max(0, NEWCOMER_ANSWERS - max(counts, default=0)),
        "newcomer_call_one_in": EXPLORE_ONE_IN,
    }


def missed_to_plain(row: MissedCalls) -> dict[str, Any]:
    """One kind of missed calls for JSON."""
    return {name: getattr(row, name) for name in MissedCalls.__dataclass_fields__}


# ---- what would have won


def _explain(each: Unserved, view: MarketView, node: NodeFacts) -> MissedCalls:
    adapter = each.kind.adapter
    # An adapter that the chain does not know can't be sold, whoever asks for it.
    is_known = adapter in (BASE_ONLY, *node.registered, *(one.adapter for one in view.priced))
    is_proven = each.is_proven and (is_known or each.kind.cause == "base")
    wins, words = _change(each, view, node)
    return MissedCalls(
        model=_model(each, view, node),
        adapter_id=adapter,
        cause=each.kind.cause,
        is_proven=is_proven,
        calls=each.calls,
        callers=each.callers,
        since=rfc3339(node.now_s - (view.now_s - each.since_s)),
        last=rfc3339(node.now_s - (view.now_s - each.last_s)),
        tokens_in=each.tokens_in_max,
        tokens_out=each.tokens_out_max,
        wins=wins,
        cli=f"{PROGRAM} {words}" if words and is_proven else None,
    )


def _model(each: Unserved, view: MarketView, node: NodeFacts) -> str:
    base, adapter = each.kind.base, each.kind.adapter
    if base != node.base:
        name = node.bases.get(base, f"base {base[:ID_DIGITS]}…")
        return name if adapter == BASE_ONLY else f"{name}, adapter {adapter[:ID_DIGITS]}…"
    if adapter == BASE_ONLY:
        return node.base_name
    own = next((one.name for one in view.priced if one.adapter == adapter), None)
    return own or view.offered.get(adapter) or f"adapter {adapter[:ID_DIGITS]}…"


def _change(each: Unserved, view: MarketView, node: NodeFacts) -> tuple[str, str | None]:
    """Name the bid or state that would have won these calls, and the words of the command, if one changes it."""
    adapter = each.kind.adapter
    match each.kind.cause:
        case "base":
            name = node.bases.get(each.kind.base)
            return ("this base", f"models use {shlex.quote(name)}") if name else ("a base that is not here", None)
        case "lacking" if adapter not in node.registered:
            return "an adapter that the chain does not know", None
        case "lacking":
            if name := view.offered.get(adapter):
                return "this adapter on the disk", f"adapters pull {shlex.quote(name)}"
            return "this adapter, which nobody offers now", f"adapters search {adapter[:ID_DIGITS]}"
        case "unsold":
            return (
                f"an adapter that may be sold: {view.not_sold.get(adapter, 'it is not registered')}",
                "adapters list",
            )
        case "context":
            needed = -(-(each.tokens_in_max + each.tokens_out_max) // CONTEXT_STEP) * CONTEXT_STEP
            words = f"config set inference.context_max {needed}"
            return f"a context of {needed:,} tokens, if the base allows it; yours is {node.context_max:,}", words
        case "full":
            words = f"config set inference.queue_max {2 * node.queue_max}"
            return f"a free place; all {node.queue_max:,} of the queue were taken", words
    return _better_bid(each, view)


def _better_bid(each: Unserved, view: MarketView) -> tuple[str, str | None]:
    """Name the bid that would have won calls that allowed too little or that another bid won.

    The price in a call or a refusal is a stranger's word. It leads to a command only if a bonded seller advertises as
    low a price.
    """
    winning, priced = each.winning, _priced(each, view)
    assert winning is not None, "these causes have one"
    if each.kind.cause == "lost" and priced and winning.price_wei >= priced.own_wei:
        own = priced.name if priced.adapter == each.kind.adapter != BASE_ONLY else None
        return _faster(each, winning, own)
    limit = winning.price_wei if each.kind.cause == "dear" else winning.price_wei * (100 - UNDERCUT_PERCENT) // 100
    is_credible = bool(limit and priced and priced.others_wei and priced.others_wei[0] <= winning.price_wei)
    says = f"a price of at most {amount(limit)} OPEN for 1,000 tokens in and 1,000 out"
    if not is_credible:
        return f"{says}, by the callers' word; no bonded seller asks as little", None
    return says, f"price set {amount(limit)}"


def _faster(each: Unserved, winning: Winning, name: str | None) -> tuple[str, str | None]:
    if winning.ttft_ms is None:
        return "a faster answer, or more trust", None
    says = f"a first token in {winning.ttft_ms:,} ms and {winning.tokens_per_s:,} tokens/s, or more trust"
    if each.was_cold and name:
        return f"the adapter in memory, for {says}", f"adapters pin {shlex.quote(name)}"
    return says, None


def _priced(each: Unserved, view: MarketView) -> Priced | None:
    return next((one for one in view.priced if one.adapter == each.kind.adapter), next(iter(view.priced), None))
