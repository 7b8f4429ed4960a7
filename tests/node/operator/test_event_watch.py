"""Troubles are told once when they last, and once when they are over."""

from functools import partial
from pathlib import Path

import pytest

from openledger_node.node_clock import ClockReading
from openledger_node.node_events import EventKind
from openledger_node.operator.alerts.causes import AlertSigns, CauseWatch
from openledger_node.operator.disk_room import GIB, DiskRoom, low_mark_bytes
from openledger_node.operator.event_watch import LOOK_S, EventWatch, SeenTroubles
from openledger_node.upkeep_tables import AlertsConfig

CHAIN = SeenTroubles(chain="no endpoint answers")
WELL = SeenTroubles()
HOUR_S = 3_600.0


class Week:
    """A watch whose clocks are set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s = self.set_s = 0.0
        self.told: list[tuple[EventKind, str]] = []
        self.watch = EventWatch(Path("/home"), note=lambda *event: self.told.append(event), clocks=self.clocks)

    def clocks(self) -> ClockReading:
        return ClockReading(wall_s=self.now_s + self.set_s, boot_s=self.now_s, awake_s=self.now_s - self.slept_s)

    def live(self, standing: SeenTroubles, lasts_s: float) -> None:
        until_s = self.now_s + lasts_s
        while self.now_s < until_s:
            self.now_s += LOOK_S
            self.watch.look(standing, self.now_s)

    def sleep(self, lasts_s: float) -> None:
        self.now_s += lasts_s
        self.slept_s += lasts_s

    @property
    def kinds(self) -> list[EventKind]:
        return [kind for kind, _ in self.told]


def test_a_trouble_is_told_once_when_it_lasts_and_once_when_it_is_over() -> None:
    week = Week()
    week.live(CHAIN, 100.0)
    assert week.told == []
    week.live(CHAIN, HOUR_S)
    assert week.told == [(EventKind.CHAIN_LOST, "no endpoint answers")]
    week.live(WELL, 100.0)
    week.live(WELL, HOUR_S)
    assert week.kinds == [EventKind.CHAIN_LOST, EventKind.CHAIN_BACK]


def test_a_chain_that_comes_and_goes_is_one_trouble() -> None:
    week = Week()
    for _ in range(100):
        week.live(CHAIN, 150.0)
        week.live(WELL, 60.0)
    assert week.kinds == [EventKind.CHAIN_LOST]


def test_a_sleep_is_told_and_is_no_trouble_of_chain_or_peers() -> None:
    week = Week()
    trouble = SeenTroubles(chain="no endpoint answers", peers="no peer is connected")
    week.live(trouble, 60.0)
    week.sleep(8 * HOUR_S)
    week.live(trouble, 60.0)  # the network takes a moment to come back
    week.live(WELL, HOUR_S)
    assert week.told == [(EventKind.SUSPENDED, "the machine slept for 8.0 h; the node goes on")]


def test_a_disk_that_wavers_about_the_mark_is_one_trouble_and_a_set_clock_is_told() -> None:
    week = Week()
    for minute in range(360):
        room = DiskRoom(free_bytes=5 * GIB + (GIB // 4 if minute % 2 else -GIB // 4), size_bytes=100 * GIB)
        week.live(SeenTroubles(disk=room), 60.0)
    week.live(SeenTroubles(disk=DiskRoom(free_bytes=40 * GIB, size_bytes=100 * GIB)), HOUR_S)
    week.set_s = -HOUR_S
    week.live(WELL, HOUR_S)
    assert week.kinds == [EventKind.DISK_LOW, EventKind.DISK_FREE, EventKind.CLOCK_CHANGED]


def test_an_adapter_is_told_at_its_first_load_and_not_at_each() -> None:
    week = Week()
    for names in (("law",), ("law", "math"), ("math",), ("law",)):
        week.live(SeenTroubles(resident=names), 10.0)
    assert week.told == [(EventKind.ADAPTER_LOADED, "law"), (EventKind.ADAPTER_LOADED, "math")]


# ---- a disk is low below one mark, by which both the event of the log and the alert go


@pytest.mark.parametrize(("size_gib", "mark_gib"), [(10, 1.0), (100, 5.0), (200, 10.0), (4_000, 10.0)])
def test_a_disk_is_low_at_a_twentieth_but_not_for_want_of_hundreds_of_gib(size_gib: int, mark_gib: float) -> None:
    assert low_mark_bytes(size_gib * GIB) == pytest.approx(mark_gib * GIB)


@pytest.mark.parametrize("size_gib", [10, 4_000])
def test_the_event_and_the_alert_begin_at_the_same_free_byte(size_gib: int) -> None:
    mark = low_mark_bytes(size_gib * GIB)
    for free_bytes, is_low in ((mark, False), (mark - 1, True)):
        room = DiskRoom(free_bytes=free_bytes, size_bytes=size_gib * GIB)
        events: list[tuple[EventKind, str]] = []
        watch = EventWatch(Path("/home"), note=partial(_note, events))
        watch.look(SeenTroubles(disk=room), LOOK_S)
        changes = CauseWatch(AlertsConfig(), set()).judge(AlertSigns(disk=room), LOOK_S)
        assert [kind for kind, _ in events] == [EventKind.DISK_LOW] * is_low
        assert [each.cause for each in changes] == ["disk"] * is_low


def _note(events: list[tuple[EventKind, str]], kind: EventKind, text: str) -> None:
    events.append((kind, text))
