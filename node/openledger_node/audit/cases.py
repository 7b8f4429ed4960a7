"""Cases about receipts, recomputed event by event as Disputes decides them: bonds, verdicts, and whom they pay."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from openledger_protocol.events import BlockId, Event
from openledger_protocol.primitives import ZERO_ADDRESS

from ..settlement.records import integer
from .events import EventLog, amount_of, text
from .splits import RegistryState
from .staking import Stakes
from .storage_layout import StorageKey

OPEN, GUILTY, NOT_GUILTY, DRAW = range(1, 5)
"""States of a case in Disputes."""

BOND_PART, REWARD_PART = 20, 10
"""A bond is a twentieth of the minimum stake, and a challenger's reward a tenth of the slash."""

CREDIT, HOLD = "wei credited to", "as the time of the hold on"
Effect = tuple[str, int, str, str]  # transaction, wei or second, CREDIT or HOLD, account


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Values that a network's contracts were deployed with, and that nothing changes."""

    treasury: str
    windows: Mapping[str, int]  # of Params, in seconds and blocks
    seconds_of: Callable[[BlockId], int]  # a block's time


@dataclass(slots=True, kw_only=True)
class CaseHistory:
    """One case, and the amount that each side has put in."""

    digest: str
    node: str
    challenger: str
    bond_wei: int
    opened_s: int
    contester: str = ZERO_ADDRESS
    state: int = OPEN

    @property
    def num_bonds(self) -> int:
        """One, or two if somebody contests."""
        return 1 + (self.contester != ZERO_ADDRESS)


@dataclass(slots=True, kw_only=True)
class NodeRecord:
    """A node's open case, and what matters of its earlier ones, in seconds."""

    open: CaseHistory | None = None
    slashed_s: int = 0
    free_until_s: int = 0
    held_until_s: int = 0


@dataclass(slots=True)
class CaseBooks:
    """All cases so far. It must read each event before `stakes` does, because a slash takes what a node then has."""

    fixed: Fixed
    stakes: Stakes
    registry: RegistryState
    by_digest: dict[str, CaseHistory] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    bonds_in_wei: int = 0
    bonds_out_wei: int = 0
    rewards_wei: int = 0
    protocol_wei: int = 0
    faults: list[str] = field(default_factory=list)
    _slashes: dict[str, tuple[int, int]] = field(default_factory=dict)  # by node: taken, and all that it had
    _due: Counter[Effect] = field(default_factory=Counter)
    _seen: Counter[Effect] = field(default_factory=Counter)

    def read(self, event: Event) -> None:
        """Process the next event, of any kind."""
        match event.name:
            case "Challenged":
                self._open(event)
            case "Contested" | "Judged" | "Lapsed":
                self._go_on(event)
            case "Slashed":
                node = text(event, "node")
                had = self.stakes.bonded[node] + sum(amount for amount, _ in self.stakes.requests.get(node, []))
                self._slashes[node] = amount_of(event), had
            case "CaseCredited":
                self._seen[event.transaction_hash, amount_of(event), CREDIT, text(event, "account")] += 1
            case "Held":
                self._seen[event.transaction_hash, integer(event, "until"), HOLD, text(event, "node")] += 1

    def all_faults(self) -> list[str]:
        """List every event of a case that does not follow from those before it."""
        missing, surplus = self._due - self._seen, self._seen - self._due
        return [
            *self.faults,
            *(f"no event tells of {_show(effect)}, and a case says so" for effect in missing.elements()),
            *(f"an event tells of {_show(effect)}, and no case says so" for effect in surplus.elements()),
            *(
                f"{taken} wei of {node}'s stake were slashed by no verdict"
                for node, (taken, _) in self._slashes.items()
            ),
        ]

    @property
    def epochs(self) -> Iterator[int]:
        """The epoch of each case, by whose minimum stake its bond and its slash are counted."""
        return (case.opened_s // self.fixed.windows["epoch"] for case in self.by_digest.values())

    def bond_of(self, digest: str) -> int:
        """The bond of a case; 0 if it was never opened."""
        return self.by_digest[digest].bond_wei if digest in self.by_digest else 0

    # ---- the beginning of a case

    def _open(self, event: Event) -> None:
        now_s, node = self.fixed.seconds_of(event.block), text(event, "node")
        record = self.nodes.setdefault(node, NodeRecord())
        case = CaseHistory(
            digest=text(event, "digest"),
            node=node,
            challenger=text(event, "challenger"),
            bond_wei=amount_of(event),
            opened_s=now_s,
        )
        held_until_s = self._held_until(record, now_s)
        self.faults += (f"case {case.digest} {fault}" for fault in self._opening_faults(case, record))
        if integer(event, "heldUntil") != held_until_s:
            self.faults.append(
                f"case {case.digest} holds the stake until {event.arguments['heldUntil']}, not {held_until_s}"
            )
        self.by_digest[case.digest], record.open = case, case
        if held_until_s:
            record.held_until_s = held_until_s
            self._due[event.transaction_hash, held_until_s, HOLD, node] += 1
        self.bonds_in_wei += case.bond_wei

    def _held_until(self, record: NodeRecord, now_s: int) -> int:
        """Until when a case that is opened now holds the stake; 0 if not at all."""
        windows = self.fixed.windows
        return 0 if now_s < record.free_until_s else now_s + windows["judge"] + windows["pauseMax"]

    def _opening_faults(self, case: CaseHistory, record: NodeRecord) -> Iterator[str]:
        bond = -(-self._least_stake(case.opened_s) // BOND_PART)
        if case.digest in self.by_digest:
            yield "was opened twice"
        if record.open:
            yield f"was opened while another against {case.node} was"
        if record.slashed_s and case.opened_s < record.slashed_s + self.fixed.windows["judge"] // 2:
            yield f"was opened too soon after a slash of {case.node}"
        if case.bond_wei != bond:
            yield f"has a bond of {case.bond_wei} wei, not {bond}"

    def _least_stake(self, at_s: int) -> int:
        try:
            return self.registry.terms_at(at_s // self.fixed.windows["epoch"]).min_stake_wei
        except KeyError:
            return 0  # no event announces any; a bond of nothing is a fault then

    # ---- its end

    def _go_on(self, event: Event) -> None:
        case = self.by_digest.get(text(event, "digest"))
        if case is None or case.state != OPEN:
            self.faults.append(f"{event.name} is about case {text(event, 'digest')}, which is not open")
            return
        match event.name:
            case "Contested":
                self._contest(case, event)
            case "Judged":
                self._judge(case, event)
            case _:
                self._lapse(case, event)

    def _contest(self, case: CaseHistory, event: Event) -> None:
        """A node that takes the place of another contester gives that one its bond back."""
        before, case.contester = case.contester, text(event, "contester")
        self.bonds_in_wei += case.bond_wei
        if before != ZERO_ADDRESS:
            self._give_back(event, before, case.bond_wei)
            if case.contester != case.node:
                self.faults.append(f"case {case.digest} was contested by two who are not its node")

    def _judge(self, case: CaseHistory, event: Event) -> None:
        is_guilty, is_contested = bool(event.arguments["guilty"]), case.num_bonds > 1
        winner = case.challenger if is_guilty else case.contester if is_contested else case.node
        for _ in range(case.num_bonds):
            self._give_back(event, winner, case.bond_wei)
        slashed = self._slash_of(case) if is_guilty else 0
        reward = slashed // REWARD_PART
        if (integer(event, "slashed"), integer(event, "reward")) != (slashed, reward):
            self.faults.append(
                f"case {case.digest} slashes {integer(event, 'slashed')} wei with a reward of "
                f"{integer(event, 'reward')}, not {slashed} with {reward}"
            )
        record = self._end(case, event, GUILTY if is_guilty else NOT_GUILTY)
        if is_guilty:
            record.slashed_s = self.fixed.seconds_of(event.block)
            self._owe(event, case.challenger, reward)
            self._owe(event, self.fixed.treasury, slashed - reward)
            self.rewards_wei += integer(event, "reward")
            self.protocol_wei += integer(event, "slashed") - integer(event, "reward")

    def _slash_of(self, case: CaseHistory) -> int:
        """The slash of a verdict: the minimum stake of the time when the case was opened, or what the node had."""
        taken, had = self._slashes.pop(case.node, (0, 0))
        if taken != (due := min(self._least_stake(case.opened_s), had)):
            self.faults.append(f"case {case.digest} took {taken} wei of {case.node}'s stake, not {due}")
        return taken

    def _lapse(self, case: CaseHistory, event: Event) -> None:
        """Nobody judged: bonds go back, and for a while no other case holds the stake."""
        self._give_back(event, case.challenger, case.bond_wei)
        if case.num_bonds > 1:
            self._give_back(event, case.contester, case.bond_wei)
        record = self._end(case, event, DRAW)
        if record.free_until_s <= case.opened_s:
            record.free_until_s = self.fixed.seconds_of(event.block) + self.fixed.windows["unbonding"]

    def _end(self, case: CaseHistory, event: Event, state: int) -> NodeRecord:
        record = self.nodes[case.node]
        case.state, record.open, record.held_until_s = state, None, 0
        self._due[event.transaction_hash, 0, HOLD, case.node] += 1
        return record

    def _give_back(self, event: Event, account: str, bond: int) -> None:
        self.bonds_out_wei += bond
        self._owe(event, account, bond)

    def _owe(self, event: Event, account: str, amount: int) -> None:
        self._due[event.transaction_hash, amount, CREDIT, account] += 1


def _show(effect: Effect) -> str:
    transaction, value, kind, account = effect
    return f"{value} {kind} {account} in {transaction}"


# ---- what storage must hold


def case_values(log: EventLog, cases: CaseBooks) -> Iterator[tuple[StorageKey, int]]:
    """Every case, the sides of open ones, what matters later of those that are over, and everybody's balance."""
    yield ("Disputes", "_totals", "bondsIn"), cases.bonds_in_wei
    yield ("Disputes", "_totals", "bondsOut"), cases.bonds_out_wei
    yield ("Disputes", "_totals", "slashed"), cases.rewards_wei + cases.protocol_wei
    yield ("Disputes", "_totals", "paidOut"), log.total("CaseWithdrawn")
    for account, amount in log.by("account", plus=["CaseCredited"], minus=["CaseWithdrawn"]).items():
        yield ("Disputes", "balanceOf", account), amount
    for case in cases.by_digest.values():
        yield ("Disputes", "_cases", case.digest, "node"), int(case.node, 16)
        yield ("Disputes", "_cases", case.digest, "openedAt"), case.opened_s
        yield ("Disputes", "_cases", case.digest, "state"), case.state
    for node, record in cases.nodes.items():
        yield from _node_values(node, record)


def _node_values(node: str, record: NodeRecord) -> Iterator[tuple[StorageKey, int]]:
    case = record.open
    yield ("Disputes", "_sides", node, "challenger"), int(case.challenger, 16) if case else 0
    yield ("Disputes", "_sides", node, "bond"), case.bond_wei if case else 0
    yield ("Disputes", "_sides", node, "contester"), int(case.contester, 16) if case else 0
    yield ("Disputes", "_records", node, "slashedAt"), record.slashed_s
    yield ("Disputes", "_records", node, "freeUntil"), record.free_until_s
    yield ("NodeStaking", "heldUntil", node), record.held_until_s
