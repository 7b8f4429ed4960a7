"""Scenario of a simulation, and its result."""

from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from math import ceil
from typing import Any

from openledger_node.market.advertiser import INTERVAL_S_MAX

KINDS = ("flooder", "stale", "liar", "cheater", "sybil", "squatter")
"""Kinds of hostile nodes; see `hostile`."""

NODES_PER_POINT, POINTS_MIN = 100, 4
STEADY_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A network, and what happens to it. All times are simulated seconds."""

    seed: int
    num_nodes: int = 60  # honest and hostile, without bootstrap nodes
    share_hostile: float = 0.2  # the kinds in turn
    kinds: tuple[str, ...] = KINDS
    share_homes: float = 0.5  # honest nodes behind a router that nobody can dial; four of five can be punched
    share_churn: float = 0.1  # honest nodes that crash during the calls, and are back after `CHURN_S`
    loss: float = 0.01  # of gossip messages
    num_calls: int = 1_000  # at most one of each honest node
    offers_times: int = 1  # advertisements are renewed so many times as often, and their traffic counts so much less
    start_s: float = 15.0  # nodes start within this time
    settle_s: float = 30.0  # until the calls begin
    calls_s: float = 30.0
    part_s: float = 0.0  # a third of the network is cut off for so long; 0: never

    @property
    def steady_s(self) -> float:
        """The time in which traffic is counted: until all advertisements were renewed, if they are renewed faster."""
        return STEADY_S if self.offers_times == 1 else INTERVAL_S_MAX / self.offers_times

    @property
    def num_hostile(self) -> int:
        """Hostile nodes."""
        return round(self.num_nodes * self.share_hostile)

    @property
    def num_points(self) -> int:
        """Bootstrap nodes."""
        return max(POINTS_MIN, ceil(self.num_nodes / NODES_PER_POINT))

    @property
    def words(self) -> list[str]:
        """The options of `tests/support/simulator/run.py` for it."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.default is not MISSING}
        usual = {each.name: each.default for each in fields(self)}
        changed = {name: value for name, value in given.items() if value != usual[name]}
        return ["--seed", str(self.seed), *(f"{name}={_told(value)}" for name, value in changed.items())]

    @property
    def replay(self) -> str:
        """The command that repeats it."""
        return f"python tests/support/simulator/run.py {' '.join(self.words)}"


def read_scenario(seed: int, words: Iterable[str]) -> Scenario:
    """Read a scenario from `name=value` words.

    Raises:
        ValueError: a scenario has nothing of that name, or the value is not of its kind.
    """
    usual = {each.name: each.default for each in fields(Scenario) if each.default is not MISSING}
    given: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in usual:
            raise ValueError(f"a scenario has no {name!r}: it has {', '.join(usual)}")
        given[name] = tuple(value.split("+")) if name == "kinds" else type(usual[name])(value)
    return Scenario(seed=seed, **given)


def _told(value: object) -> str:
    return "+".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(slots=True, kw_only=True)
class Result:
    """What a simulation measured. Shares are 0 to 1; a time of None was not reached."""

    seed: int
    num_nodes: int
    share_known: float = 0.0  # of the honest advertisements that honest nodes should know
    share_known_after_churn: float = 0.0
    share_served: float = 0.0  # of the honest nodes' requests
    num_calls: int = 0
    answer_s_median: float = 0.0  # from a request to the end of its answer, of those that were served
    answer_s_max: float = 0.0
    why_not_served: list[str] = field(default_factory=list)
    share_paid_hostile: float = 0.0  # of the answers, those that a liar or cheater gave
    sent_bytes_per_s: float = 0.0  # of an honest node, mean over the steady time
    sent_bytes_per_s_max: float = 0.0  # of the honest node that sent most
    received_bytes_per_s: float = 0.0
    messages_per_s: float = 0.0  # new gossip messages of a node
    copies_per_s: float = 0.0  # gossip messages with those that it knew
    check_ms: float = 0.0  # measured: one check of an advertisement, with a board of this size
    core_percent: float = 0.0  # of one core, by messages counted × time measured
    newcomer_s: float | None = None  # from its start until it knows all that it should
    newcomer_answer_s: float | None = None  # from its start to the end of its first answer
    point_lost_s: float | None = None  # from the loss until all nodes have two bootstrap nodes and hear a new offer
    healed_s: float | None = None  # from the end of a partition until all know of all again
    simulated_s: float = 0.0
    cpu_s: float = 0.0  # of the simulation itself

    def to_plain(self) -> dict[str, object]:
        """The result as JSON."""
        return asdict(self)
