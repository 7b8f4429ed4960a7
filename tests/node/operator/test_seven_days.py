"""Seven days of a node that nobody looks after: what its log, its alerts and its claims have."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from support.scripted_chain import CHAIN_ID, ScriptedChain

from openledger_node.chain.outbox import Outbox
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.node_clock import ClockReading
from openledger_node.node_events import LOGGER, EventKind
from openledger_node.operator.alerts.causes import AlertSigns, CauseWatch
from openledger_node.operator.alerts.service import ASLEEP_S, LOOK_EVERY_S
from openledger_node.operator.disk_room import GIB, DiskRoom
from openledger_node.operator.event_watch import LOOK_S, EventWatch, SeenTroubles
from openledger_node.upkeep_tables import AlertsConfig
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import Intent, OutboxLimits

MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0
WEEK_S: Final = 7 * DAY_S
KEY: Final = bytes([1]) * 32
DISK_BYTES: Final = 100 * GIB


@dataclass
class Week:
    """A node whose parts are real where they judge, write and claim; chain, peers, disk and clocks are scripted."""

    folder: Path
    log: pytest.LogCaptureFixture
    chain: ScriptedChain = field(default_factory=ScriptedChain)
    now_s: float = 0.0  # since boot
    slept_s: float = 0.0
    set_s: float = 0.0
    has_peers: bool = True
    free_bytes: int = 50 * GIB
    alerts: list[tuple[str, str]] = field(default_factory=list)
    num_claims: int = 0
    open_causes: set[str] = field(default_factory=set)  # as the journal of alerts keeps them

    def begin(self) -> None:
        """Start the process: all that it had in memory is new, and its ledger is as it was."""
        self.ledger: Ledger = open_ledger(self.folder / "ledger.db")
        self.outbox = Outbox(
            client=self.chain,
            journal=self.ledger.outbox,
            chain_id=CHAIN_ID,
            senders={address_of(KEY): KEY},
            sign=lambda _, digest: sign_digest(KEY, digest),
            limits=OutboxLimits(bump_after_blocks=3, bump_after_s=3),
        )
        self.watch = EventWatch(self.folder, clocks=self.clocks)
        self.causes = CauseWatch(AlertsConfig(), self.open_causes)
        self.judged_s = self.now_s

    def restart(self) -> None:
        """End the process at any moment, as by `kill -9`, and start it again."""
        self.ledger.close()
        self.begin()

    def clocks(self) -> ClockReading:
        return ClockReading(
            wall_s=1_800_000_000.0 + self.now_s + self.set_s, boot_s=self.now_s, awake_s=self.now_s - self.slept_s
        )

    def sleep(self, lasts_s: float) -> None:
        """Suspend the machine. For a minute after it wakes, neither chain nor peers are there."""
        self.now_s += lasts_s
        self.slept_s += lasts_s
        self.chain.mine(3)  # the chain goes on without this node
        with self.without_network():
            self.live(self.now_s + MINUTE_S)

    @contextmanager
    def without_network(self) -> Iterator[None]:
        self.chain.is_down, self.has_peers = True, False
        yield
        self.chain.is_down, self.has_peers = False, True

    def live(self, until_s: float) -> None:
        while self.now_s < until_s:
            self.now_s += LOOK_S
            if self.now_s % HOUR_S < LOOK_S and self.now_s <= WEEK_S:
                self.claim()
            if self.now_s % (5 * MINUTE_S) < LOOK_S:
                self.outbox.step()
                self.chain.mine(3)  # whether this node reaches the chain or not
            self.look()

    def look(self) -> None:
        self.watch.look(
            SeenTroubles(
                chain="no endpoint answers" if self.chain.is_down else None,
                peers=None if self.has_peers else "no peer is connected",
                disk=self.disk,
            ),
            self.now_s,
        )
        if self.now_s - self.judged_s < LOOK_EVERY_S:
            return
        if self.now_s - self.judged_s > ASLEEP_S:
            self.causes.time_anew()
        self.judged_s = self.now_s
        signs = AlertSigns(
            is_engine_failed=False,
            is_chain_lost=self.chain.is_down,
            num_peers=None if self.chain.is_down else int(self.has_peers),
            disk=self.disk,
        )
        self.alerts += [(change.cause, change.phase) for change in self.causes.judge(signs, self.now_s)]

    @property
    def disk(self) -> DiskRoom:
        return DiskRoom(free_bytes=self.free_bytes, size_bytes=DISK_BYTES)

    def claim(self) -> None:
        """Claim the hour's receipts."""
        self.num_claims += 1
        key = f"claim:{self.num_claims}"
        call = ContractCall(to=Address("0x" + "c" * 40), data=key.encode())
        self.ledger.outbox.add(
            Intent(key=key, kind="claim", summary=key, sender=address_of(KEY), call=call, deadline_s=None)
        )

    @property
    def events(self) -> list[EventKind]:
        lines = [record.getMessage() for record in self.log.records if record.name == LOGGER]
        return [EventKind(line.partition(":")[0]) for line in lines]


@pytest.fixture
def week(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Week]:
    caplog.set_level(logging.INFO, logger="openledger_node")
    found = Week(tmp_path, caplog)
    found.begin()
    yield found
    found.ledger.close()


def at(day: int, hour: float) -> float:
    return (day - 1) * DAY_S + hour * HOUR_S


def test_seven_days_lose_nothing_and_make_one_alert_for_each_cause(week: Week) -> None:
    story: list[tuple[float, Callable[[], object]]] = [
        (at(1, 23), partial(week.sleep, 8 * HOUR_S)),
        (at(3, 18), partial(lose_network, week)),
        (at(4, 2), partial(set_clock, week)),
        (at(4, 12), partial(fill_disk, week)),
        (at(5, 3), week.restart),
        (at(6, 3), week.restart),
    ]
    week.live(at(1, 12))
    flap(week)
    lose_chain(week)
    for due_s, happens in story:
        week.live(due_s)
        happens()
    week.live(WEEK_S)
    week.live(week.now_s + HOUR_S)  # what was claimed last becomes final

    assert week.events.count(EventKind.CLAIM_MADE) == week.num_claims
    assert Counter(kind for kind in week.events if kind != EventKind.CLAIM_MADE) == {
        EventKind.CHAIN_LOST: 2,
        EventKind.CHAIN_BACK: 2,
        EventKind.PEERS_LOST: 1,
        EventKind.PEERS_BACK: 1,
        EventKind.SUSPENDED: 1,
        EventKind.CLOCK_CHANGED: 2,
        EventKind.DISK_LOW: 1,
        EventKind.DISK_FREE: 1,
    }
    assert Counter(week.alerts) == {
        ("chain", "begins"): 2,  # the endpoint's failure and the network's are two causes
        ("chain", "over"): 2,
        ("disk", "begins"): 1,
        ("disk", "over"): 1,
    }
    check_claims(week)
    assert week.open_causes == set()


def flap(week: Week) -> None:
    """Let the endpoint fail for a minute in each two, for an hour: no trouble that lasts."""
    for minute in range(60):
        week.chain.is_down = minute % 2 == 0
        week.live(week.now_s + MINUTE_S)
    week.chain.is_down = False


def lose_chain(week: Week) -> None:
    """Let the endpoint be away for three hours, and then come and go for one."""
    week.chain.is_down = True
    week.live(week.now_s + 3 * HOUR_S)
    flap(week)


def lose_network(week: Week) -> None:
    with week.without_network():
        week.live(week.now_s + 2 * HOUR_S)


def set_clock(week: Week) -> None:
    for set_s in (2 * HOUR_S, -1 * HOUR_S):
        week.set_s = set_s
        week.live(week.now_s + HOUR_S)


def fill_disk(week: Week) -> None:
    """Let the disk waver around 95 % for six hours."""
    for minute in range(360):
        week.free_bytes = (5 * GIB) - (GIB // 4 if minute % 2 else -GIB // 4)
        week.live(week.now_s + MINUTE_S)
    week.free_bytes = 40 * GIB


def check_claims(week: Week) -> None:
    """Every claim is on the chain once, and final in the ledger."""
    calls = Counter(week.chain.mined_calls())
    assert calls == {f"claim:{number}".encode(): 1 for number in range(1, week.num_claims + 1)}
    assert week.num_claims >= 7 * 24 - 8  # but for the hours asleep
    assert {found.state for found in week.ledger.outbox.newest(limit=1_000)} == {"final"}
