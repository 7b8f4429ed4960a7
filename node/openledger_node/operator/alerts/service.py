"""The task that watches for causes of alerts and sends the alerts, without ever holding up the node."""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import httpx
import trio

from ...beats import sleep_to_beat
from ...errors import NetworkError, NodeError
from ...home import Home
from ...p2p.reachability import ReachState
from ...upkeep_tables import AlertsConfig, read_muted
from ..disk_room import read_disk_room
from ..status import NodeParts
from .causes import TEXTS, AlertSigns, CauseWatch, Change, Phase, event_of, is_urgent
from .delivery import Receiver, deliver, receivers_of
from .journal import Alert, AlertJournal, open_journal
from .run_mark import has_crashed, mark_run

LOOK_EVERY_S: Final = 15.0
ASLEEP_S: Final = 120.0
"""A pause between two looks that only a machine that slept makes, or a receiver that hangs."""

HOUR_S: Final = 3_600
PER_HOUR_MAX, PER_HOUR_URGENT_ONLY = 12, 4
"""Alerts that one receiver gets in an hour, of which so many are kept for urgent ones; further ones wait."""

RETRY_S, RETRY_MAX_S = 15.0, 900.0
"""The wait after a failed delivery doubles from the first to the second."""

log = logging.getLogger(__name__)

Look = Callable[[], AlertSigns]


def look_at(parts: NodeParts) -> AlertSigns:
    """Signs of causes in the parts of a running node, without a question to the chain and without its disk."""
    money, view, home_network = parts.network.status(), parts.network.view(), parts.home_network
    has_chain = money.chain == "ok"
    has_peers = has_chain and view is not None and home_network.devnet is None
    return AlertSigns(
        is_engine_failed=_is_engine_failed(parts),
        is_chain_lost=None if money.chain is None else not has_chain,
        num_peers=money.num_peers if has_peers else None,
        reach=view.reach.state if view and parts.config.node.serve else ReachState.UNKNOWN,
        counts=money.alert_counts if has_chain else None,
    )


def _is_engine_failed(parts: NodeParts) -> bool | None:
    """True while the engine can't be loaded; None while it is being loaded."""
    if parts.engine.failure:
        return True
    return False if parts.engine.state in ("ready", "unloaded", "absent") else None


@dataclass(slots=True)
class _Attempts:
    """Failed deliveries to one receiver since the last that went well."""

    num_failed: int = 0
    next_s: float = 0.0  # on trio's clock


class AlertService:
    """Alerts of one running node. Without a receiver it does nothing."""

    def __init__(
        self,
        home: Home,
        config: AlertsConfig,
        look: Look,
        *,
        now_s: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._home = home
        self._config = config
        self._look = look
        self._now_s = now_s
        self._transport = transport
        self._muted = read_muted(config.muted)
        self._attempts: dict[str, _Attempts] = {}

    async def run(self) -> None:
        """Watch and send until cancelled."""
        try:
            receivers = await trio.to_thread.run_sync(receivers_of, self._home, self._config)
        except NodeError as error:
            log.error("no alerts are sent: %s", error)
            return
        if not receivers:
            return
        journal = await trio.to_thread.run_sync(open_journal, self._home)
        for gone in journal.waiting.keys() - {receiver.name for receiver in receivers}:
            del journal.waiting[gone]
        watch = CauseWatch(self._config, set(journal.open_causes))
        if await trio.to_thread.run_sync(has_crashed, self._home):
            self._note(journal, receivers, [Change(cause="restarted", phase="once")])
            await _save(journal)
        await trio.to_thread.run_sync(mark_run, self._home)  # after the alert is kept, so that none is lost
        looked_s = trio.current_time()
        while True:
            if trio.current_time() - looked_s > ASLEEP_S:
                watch.time_anew()
            looked_s = trio.current_time()
            signs = await self._look_around()
            changes = watch.judge(signs, looked_s)
            if changes:
                self._note(journal, receivers, changes)
                await _save(journal)
            for receiver in receivers:
                await self._send_waiting(journal, receiver)
            await sleep_to_beat(LOOK_EVERY_S)

    async def _look_around(self) -> AlertSigns:
        return replace(self._look(), disk=await trio.to_thread.run_sync(read_disk_room, self._home.root))

    def _note(self, journal: AlertJournal, receivers: list[Receiver], changes: list[Change]) -> None:
        """Keep open causes, and let an alert of each change wait for every receiver."""
        now_s = int(self._now_s())
        for change in changes:
            if change.phase == "begins":
                journal.open_causes[change.cause] = now_s
            elif change.phase == "over":
                journal.open_causes.pop(change.cause, None)
            if event_of(change.cause) in self._muted:
                continue
            alert = new_alert(change.cause, change.phase, now_s=now_s)
            log.info("alert: %s", alert.text)
            for receiver in receivers:
                journal.put(receiver.name, alert)

    async def _send_waiting(self, journal: AlertJournal, receiver: Receiver) -> None:
        """Send what waits for a receiver, urgent ones first, until one fails or the hour's number is reached."""
        attempts = self._attempts.setdefault(receiver.name, _Attempts())
        queue = journal.waiting.get(receiver.name, deque())
        while queue and trio.current_time() >= attempts.next_s:
            now_s = int(self._now_s())
            alert = queue[0]
            num_max = PER_HOUR_MAX if is_urgent(alert.event) else PER_HOUR_MAX - PER_HOUR_URGENT_ONLY
            if journal.num_sent_since(receiver.name, now_s - HOUR_S, now_s=now_s) >= num_max:
                return
            try:
                await deliver(
                    receiver, alert, node_name=self._config.node_name, now_s=self._now_s, transport=self._transport
                )
            except NetworkError as error:
                self._put_off(attempts, error)
                return
            attempts.num_failed, attempts.next_s = 0, 0.0
            journal.note_sent(receiver.name, alert, now_s=int(self._now_s()))
            await _save(journal)

    def _put_off(self, attempts: _Attempts, error: NetworkError) -> None:
        wait_s = min(RETRY_S * 2**attempts.num_failed, RETRY_MAX_S)
        if not attempts.num_failed:
            log.warning("an alert can't be sent, and is tried again: %s", error)
        attempts.num_failed += 1
        attempts.next_s = trio.current_time() + wait_s


async def _save(journal: AlertJournal) -> None:
    """Write the journal, also while the node stops: what was just sent must not be sent again."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(journal.save)


def new_alert(cause: str, phase: Phase, *, now_s: int) -> Alert:
    """Write the alert of a change; each has an id of its own."""
    event = event_of(cause)
    begins, over = TEXTS[event]
    text = over if phase == "over" else begins
    return Alert(id=f"msg_{secrets.token_hex(12)}", event=event, cause=cause, phase=phase, at_s=now_s, text=text)
