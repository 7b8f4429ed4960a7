"""A disk is low below one mark, by which both the event of the log and the alert go."""

from functools import partial
from pathlib import Path

import pytest

from openledger_node.node_events import EventKind
from openledger_node.operator.alerts.causes import AlertSigns, CauseWatch
from openledger_node.operator.disk_room import GIB, DiskRoom, low_mark_bytes
from openledger_node.operator.event_watch import LOOK_S, EventWatch, SeenTroubles
from openledger_node.upkeep_tables import AlertsConfig


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
