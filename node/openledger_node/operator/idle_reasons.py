"""The reason why a node is idle: observations in, checks and one sentence out, with the one change that would help.

The sentence is that of the first failing check. A check that keeps every request away comes first, then the one that
explains most of the lost bids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ..market.overview import rank_of
from ..p2p.reachability import NOT_CHECKED, Reach, ReachState
from .reach_words import REACHED, reach_says

Name = Literal["engine", "limits", "copies", "chain", "reachable", "capacity", "demand", "price"]
BLOCKING: tuple[Name, ...] = ("engine", "limits", "copies", "chain", "reachable")
"""If one of these fails, no other check matters."""

LOADING = ("starting", "reloading")
"""States of an engine that loads its base as it should."""

OPEN_WEI = 10**18
LOST_SHOWN = 5
UNDERCUT_PERCENT = 1
"""A suggested price is this far below the median of the winning ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostSeen:
    """A bid of the last hour that lost, or was not made because it would have exceeded the call's maximum price."""

    when: str  # RFC 3339
    adapter: str  # the adapter's name, or the base's
    my_price_wei: int
    winner_price_wei: int | None  # or the call's maximum
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSeen:
    """This node's price beside others for the same model, for 1,000 prompt tokens plus 1,000 answer tokens."""

    of: str  # a model's name
    own_wei: int
    others_wei: tuple[int, ...]

    @property
    def rank(self) -> int:
        """1 for the cheapest."""
        return rank_of(self.own_wei, self.others_wei)

    @property
    def num_tied(self) -> int:
        """The number of others at the same price, who share the rank."""
        return self.others_wei.count(self.own_wei)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The one change that would help, and the command that makes it."""

    says: str
    cli: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The facts that are known without a question to chain or peers."""

    serves: bool
    engine: str  # its state
    why_engine: str | None = None  # the reason why it can't be loaded
    load_s: float | None = None  # measured at its last load
    load_step: str | None = None  # the step that a loading engine is at
    paused: str | None = None  # the reason, if the node is paused
    has_network: bool = True  # False: the node serves this machine alone
    why_alone: str | None = None
    has_peers_here: bool = True  # False: a chain of its own, without other nodes
    chain: str | None = "ok"
    why_chain: str | None = None
    second_copy: str | None = None  # what to do about it, if this node runs elsewhere as well
    num_peers: int = 0
    num_serving_peers: int = 0
    was_dialled: bool = False  # a peer has connected to us on its own initiative
    reach: Reach = NOT_CHECKED
    num_live: int = 0
    queue_max: int = 1
    num_heard: int = 0  # calls in the last hour for models of this node
    num_local: int = 0  # requests of this machine in the last hour; the guest's are among them
    num_foreign: int = 0  # calls in the last hour for other models
    num_won: int = 0
    price: PriceSeen | None = None
    lost: tuple[LostSeen, ...] = ()  # oldest first
    asked: Suggestion | None = None  # the change that most calls of proven callers would have needed
    spent_today_wei: int = 0
    day_max_wei: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleCheck:
    """One possible cause; `ok` is None if the check is undecided or does not apply."""

    check: Name
    ok: bool | None
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Idleness:
    """The explanation: one sentence, the checks behind it, and a suggestion."""

    sentence: str
    checks: tuple[IdleCheck, ...]
    suggestion: Suggestion | None
    bids_lost: tuple[LostSeen, ...]  # newest first


def explain(seen: Observed) -> Idleness:
    """Explain why nothing runs."""
    checks = (
        _price(seen),
        _reachable(seen),
        _demand(seen),
        _capacity(seen),
        _limits(seen),
        _copies(seen),
        _chain(seen),
        _engine(seen),
    )
    first = None if _is_loading(seen) else _first_failing(checks, seen)
    return Idleness(
        sentence=first.says if first else _loading(seen) if _is_loading(seen) else _quiet(seen),
        checks=checks,
        suggestion=_suggestion(first, seen),
        bids_lost=tuple(reversed(seen.lost[-LOST_SHOWN:])),
    )


def _is_loading(seen: Observed) -> bool:
    return seen.serves and seen.engine in LOADING and not seen.paused


def amount(wei: int) -> str:
    """An exact amount of OPEN in decimal digits."""
    whole, rest = divmod(wei, OPEN_WEI)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")


# ---- the checks


def _engine(seen: Observed) -> IdleCheck:
    if not seen.serves:
        return IdleCheck(check="engine", ok=None, says="[node] serve is false, so no engine runs")
    if seen.engine == "ready" or seen.paused:
        return IdleCheck(check="engine", ok=True, says=f"the engine is {seen.engine}")
    if seen.why_engine:
        return IdleCheck(check="engine", ok=False, says=seen.why_engine)
    if seen.engine == "unloaded":
        took = f" in about {seen.load_s:.0f} s" if seen.load_s and seen.load_s >= 1 else ""
        says = f"the engine gave its memory back, and the next request loads it again{took}"
        return IdleCheck(check="engine", ok=True, says=says)
    if seen.engine in LOADING:
        return IdleCheck(check="engine", ok=None, says=_loading(seen))
    if seen.engine == "restarting":
        says = "the engine stopped and is restarting: the node's log says why"
        return IdleCheck(check="engine", ok=False, says=says)
    return IdleCheck(check="engine", ok=False, says=f"the engine is {seen.engine}")


def _loading(seen: Observed) -> str:
    return seen.load_step or "loading the base"


def _limits(seen: Observed) -> IdleCheck:
    if seen.paused:
        return IdleCheck(check="limits", ok=False, says=seen.paused)
    if seen.serves:
        return IdleCheck(check="limits", ok=True, says="no limit holds this node back")
    if seen.day_max_wei is not None and seen.spent_today_wei >= seen.day_max_wei:
        says = f"today's {amount(seen.day_max_wei)} OPEN are spent: paid requests resume after midnight UTC"
        return IdleCheck(check="limits", ok=False, says=says)
    left = amount(max(0, (seen.day_max_wei or 0) - seen.spent_today_wei))
    return IdleCheck(check="limits", ok=True, says=f"{left} OPEN of today's spending limit are left")


def _copies(seen: Observed) -> IdleCheck:
    if seen.second_copy:
        return IdleCheck(check="copies", ok=False, says=seen.second_copy)
    if not seen.has_network or not seen.has_peers_here:
        return IdleCheck(check="copies", ok=None, says="no other node could be a copy of this one")
    return IdleCheck(check="copies", ok=True, says="no second copy of this node is heard")


def _chain(seen: Observed) -> IdleCheck:
    if not seen.has_network:
        why = f" ({seen.why_alone})" if seen.why_alone else ""
        return IdleCheck(check="chain", ok=None, says=f"this node serves this machine alone{why}")
    if seen.chain != "ok":
        return IdleCheck(
            check="chain", ok=False, says=f"no money moves, since the chain is {seen.chain}: {seen.why_chain}"
        )
    return IdleCheck(check="chain", ok=True, says="the chain answers")


def _reachable(seen: Observed) -> IdleCheck:
    if not seen.has_network or not seen.has_peers_here:
        return IdleCheck(check="reachable", ok=None, says="this node is on a chain of its own, which has no peers")
    if seen.chain != "ok":
        return IdleCheck(check="reachable", ok=None, says="unknown until the chain answers")
    if not seen.num_peers:
        says = "no peer is connected: nobody can reach this node"
        return IdleCheck(check="reachable", ok=False, says=says)
    connected = f"{_count(seen.num_peers, 'peer')} connected"
    if not seen.serves:
        return IdleCheck(check="reachable", ok=True, says=f"{connected}; a node that only buys need not be reached")
    return _reached(seen.reach, connected, was_dialled=seen.was_dialled)


def _reached(reach: Reach, connected: str, *, was_dialled: bool) -> IdleCheck:
    """The check of a node that sells: it holds only if somebody outside can reach the node."""
    if reach.state is ReachState.UNKNOWN and was_dialled:
        return IdleCheck(check="reachable", ok=True, says=f"{connected}; others have dialled in")
    if reach.state is ReachState.UNREACHABLE:
        return IdleCheck(check="reachable", ok=False, says=reach_says(reach))
    is_reached = True if reach.state in REACHED else None
    return IdleCheck(check="reachable", ok=is_reached, says=f"{connected}; {reach_says(reach)}")


def _capacity(seen: Observed) -> IdleCheck:
    if not seen.serves:
        return IdleCheck(check="capacity", ok=None, says="this node only sends requests")
    if short := [each for each in seen.lost if "has a context of" in each.reason]:
        says = f"{_count(len(short), 'call')} asked for a longer context than [inference] context_max allows"
        return IdleCheck(check="capacity", ok=False, says=says)
    if seen.num_live >= seen.queue_max:
        return IdleCheck(check="capacity", ok=False, says=f"its queue of {seen.queue_max} is full")
    return IdleCheck(check="capacity", ok=True, says=f"{seen.num_live} of {seen.queue_max} places are taken")


def _demand(seen: Observed) -> IdleCheck:
    if not seen.serves or not seen.has_network or not seen.has_peers_here:
        return IdleCheck(check="demand", ok=None, says=f"no other node can send requests{_own(seen)}")
    if seen.num_heard:
        says = f"{_count(seen.num_heard, 'call')} in the last hour for models of this node, {seen.num_won} won"
        return IdleCheck(check="demand", ok=True, says=says + _own(seen))
    if seen.num_foreign:
        foreign = f"{_count(seen.num_foreign, 'call')} in the last hour for other models"
        return IdleCheck(check="demand", ok=False, says=f"no call for a model of this node; {foreign}{_own(seen)}")
    if seen.num_local:
        own = _count(seen.num_local, "request")
        says = f"{own} from this machine in the last hour, none from the network"
        return IdleCheck(check="demand", ok=False, says=says)
    return IdleCheck(check="demand", ok=False, says="nobody has asked for anything in the last hour")


def _own(seen: Observed) -> str:
    """The end of a sentence about demand: the requests of this machine, if there were any."""
    return f"; {_count(seen.num_local, 'request')} from this machine in the last hour" if seen.num_local else ""


def _price(seen: Observed) -> IdleCheck:
    if not seen.serves or seen.price is None:
        return IdleCheck(check="price", ok=None, says="no other node's price is known")
    price = seen.price
    if not price.others_wei:
        says = f"no other node offers {price.of}; your price is {amount(price.own_wei)} OPEN"
        return IdleCheck(check="price", ok=True, says=says)
    says = (
        f"{_place(price)} for {price.of}: yours is {amount(price.own_wei)} OPEN, "
        f"the median of the others {amount(_median(price.others_wei))}"
    )
    if _undercut(seen):
        return IdleCheck(check="price", ok=False, says=f"cheaper nodes win: {says}")
    return IdleCheck(check="price", ok=True, says=says)


# ---- the sentence and the suggestion


def _first_failing(checks: Sequence[IdleCheck], seen: Observed) -> IdleCheck | None:
    failing = {check.check: check for check in checks if check.ok is False}
    for name in BLOCKING:
        if name in failing:
            return failing[name]
    weights = {"price": len(_undercut(seen)), "capacity": len(seen.lost) - len(_undercut(seen)), "demand": 0}
    return max(failing.values(), key=lambda check: weights.get(check.check, 0), default=None)


def _quiet(seen: Observed) -> str:
    if not seen.serves:
        return "no request just now: requests of this machine go to the network"
    if not seen.has_network:
        why = f" ({seen.why_alone})" if seen.why_alone else ""
        return f"nothing to answer just now: this node serves this machine alone{why}"
    if not seen.has_peers_here:
        return "nothing to answer just now: this node is on a chain of its own, so only you can send requests"
    return f"nothing to answer just now: {_count(seen.num_heard, 'call')} in the last hour, {seen.num_won} won"


def _suggestion(first: IdleCheck | None, seen: Observed) -> Suggestion | None:
    if first is None or (first.check == "demand" and seen.asked):
        return seen.asked
    if first.check == "price" and (undercut := _undercut(seen)):
        winners = [each.winner_price_wei or 0 for each in undercut]
        price = _median(winners) * (100 - UNDERCUT_PERCENT) // 100
        if not price:
            return None
        says = f"at {amount(price)} OPEN this node would have been cheap enough for half of the bids that it lost"
        return Suggestion(says=says, cli=f"openledger-node price set {amount(price)}")
    return _USUAL.get(first.check) if first.check != "limits" or seen.paused else _MORE_MONEY


_MORE_MONEY = Suggestion(says="raise the daily spending limit", cli="openledger-node limits set --day-max 2")
_USUAL: dict[str, Suggestion] = {
    "copies": Suggestion(says="stop this copy, or the other one on its machine", cli="openledger-node stop"),
    "limits": Suggestion(says="take requests again", cli="openledger-node resume"),
    "chain": Suggestion(says="find out why the chain does not answer", cli="openledger-node doctor --only chain"),
    "reachable": Suggestion(says="find out what keeps other nodes away", cli="openledger-node doctor --only network"),
    "engine": Suggestion(says="find out why the engine does not run", cli="openledger-node doctor --only model"),
    "demand": Suggestion(says="see what other nodes offer and request", cli="openledger-node peers list"),
    "capacity": Suggestion(says="see the limits and what is used", cli="openledger-node limits show"),
}


def _undercut(seen: Observed) -> list[LostSeen]:
    """Lost bids whose winner was cheaper.

    The winner's price is a stranger's word, so it counts only if some seller with a bond advertises as low a price.
    """
    least_wei = min(seen.price.others_wei, default=None) if seen.price else None
    return [
        each
        for each in seen.lost
        if each.winner_price_wei is not None
        and least_wei is not None
        and least_wei <= each.winner_price_wei < each.my_price_wei
    ]


def _median(prices: Sequence[int]) -> int:
    return (
        int(median(prices))
        if len(prices) % 2
        else sum(sorted(prices)[len(prices) // 2 - 1 : len(prices) // 2 + 1]) // 2
    )


def _place(price: PriceSeen) -> str:
    """The rank in words. Nodes at the same price share it, and none of them is the cheapest alone."""
    offers = len(price.others_wei) + 1
    if price.num_tied:
        return f"place {price.rank} of {offers}, shared with {_count(price.num_tied, 'other')}"
    return f"the cheapest of {offers}" if price.rank == 1 else f"place {price.rank} of {offers}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
