"""Alerts: one for each cause until it is over, delivered once, whatever network, disk and restarts do."""

import base64
import errno
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from openledger_node.errors import ConfigError, NetworkError
from openledger_node.home import Home
from openledger_node.operator.alerts import journal as journals
from openledger_node.operator.alerts import run_mark
from openledger_node.operator.alerts import service as services
from openledger_node.operator.alerts.causes import CLEAR_S, HELD_UP_S, TEXTS, AlertSigns, CauseWatch
from openledger_node.operator.alerts.delivery import (
    deliver,
    draw_secret,
    keep_token,
    load_secret,
    load_token,
    receivers_of,
)
from openledger_node.operator.alerts.journal import WAITING_MAX, open_journal
from openledger_node.operator.alerts.run_mark import has_crashed, mark_run, note_stopped
from openledger_node.operator.alerts.service import PER_HOUR_MAX, AlertService, look_at, new_alert
from openledger_node.operator.alerts.trial import trial_alert
from openledger_node.operator.disk_room import GIB, DiskRoom
from openledger_node.p2p.reachability import ReachState
from openledger_node.upkeep_tables import AlertsConfig, read_upkeep_url

ROOT = Path(__file__).resolve().parents[3]
HOOK = AlertsConfig(webhook_url="https://hooks.example/secret-path")
ROOMY, FULL = (DiskRoom(free_bytes=free_gib * GIB, size_bytes=100 * GIB) for free_gib in (50, 4))
FINE = AlertSigns(is_engine_failed=False, is_chain_lost=False, num_peers=3, disk=ROOMY, counts={})
FAILED = replace(FINE, is_engine_failed=True)


# ---- causes


def judge(*looks: tuple[float, AlertSigns], open_causes: set[str] | None = None) -> list[tuple[float, str, str]]:
    watch = CauseWatch(AlertsConfig(), open_causes or set())
    return [(at_s, each.cause, each.phase) for at_s, signs in looks for each in watch.judge(signs, at_s)]


CAUSES = [
    ("engine", {"is_engine_failed": True}, 0.0),
    ("chain", {"is_chain_lost": True}, 600.0),
    ("peers", {"num_peers": 0}, 900.0),
    ("peers", {"reach": ReachState.UNREACHABLE}, 900.0),
    ("disk", {"disk": FULL}, 0.0),
    ("gas", {"counts": {"gas": 1}}, HELD_UP_S),
    ("claims", {"counts": {"claims": 1}}, HELD_UP_S),
    ("sellers", {"counts": {"sellers": 1}}, HELD_UP_S),
]


@pytest.mark.parametrize(("cause", "sign", "after_s"), CAUSES)
def test_a_cause_makes_an_alert_at_its_start_and_end(cause: str, sign: dict[str, Any], after_s: float) -> None:
    seen = replace(FINE, **sign)
    looks = [(float(at_s), seen) for at_s in range(0, 5_000, 10)]
    end = [(5_000.0, FINE), (5_000.0 + CLEAR_S - 1, FINE), (5_000.0 + CLEAR_S, FINE)]
    assert judge(*looks, *end) == [(after_s, cause, "begins"), (5_000.0 + CLEAR_S, cause, "over")]
    if after_s:
        assert judge((0.0, seen), (after_s - 1, seen), (after_s, FINE), (after_s + 1, seen)) == [], "it was shorter"


def test_what_was_open_or_comes_and_goes_or_is_unknown_makes_no_second_alert() -> None:
    lost, unknown = replace(FINE, is_chain_lost=True), AlertSigns()
    flapping = [(float(at_s), FAILED if at_s % 100 else FINE) for at_s in range(1, 4_000, 50)]
    assert judge(*flapping) == [(1.0, "engine", "begins")]
    rooms = [DiskRoom(free_bytes=int((4.9 + at_s % 3 / 2) * GIB), size_bytes=100 * GIB) for at_s in range(5_000)]
    wavering = [(float(at_s), replace(FINE, disk=room)) for at_s, room in enumerate(rooms)]
    assert judge(*wavering) == [(0.0, "disk", "begins")]
    assert judge((0.0, lost), (700.0, lost), open_causes={"chain"}) == []
    looks = [(float(at_s), unknown) for at_s in range(0, 5_000, 100)]
    assert judge(*looks, open_causes={"engine", "chain", "peers", "disk", "gas"}) == []


def test_a_second_claim_in_trouble_makes_an_alert_of_its_own() -> None:
    one, two = replace(FINE, counts={"claims": 1}), replace(FINE, counts={"claims": 2})
    found = judge((0.0, one), (60.0, one), (100.0, two), (160.0, two), (200.0, one), (400.0, one))
    assert found == [(60.0, "claims", "begins"), (160.0, "claims 2", "begins"), (400.0, "claims 2", "over")]


def parts(*, chain: str | None, engine: str = "ready", failure: object = None, devnet: object = None) -> Any:
    view = SimpleNamespace(reach=SimpleNamespace(state=ReachState.PUBLIC))
    money = SimpleNamespace(chain=chain, num_peers=2, alert_counts={"gas": 1})
    return SimpleNamespace(
        network=SimpleNamespace(status=lambda: money, view=lambda: view),
        home_network=SimpleNamespace(devnet=devnet),
        engine=SimpleNamespace(state=engine, failure=failure),
        config=SimpleNamespace(node=SimpleNamespace(serve=True)),
    )


def test_the_parts_of_a_node_show_its_causes() -> None:
    found = look_at(parts(chain="ok"))
    assert (found.is_engine_failed, found.is_chain_lost, found.num_peers) == (False, False, 2)
    assert (found.reach, found.counts) == (ReachState.PUBLIC, {"gas": 1})
    lost = look_at(parts(chain="down", engine="starting"))
    assert (lost.is_engine_failed, lost.is_chain_lost, lost.num_peers, lost.counts) == (None, True, None, None)
    alone = look_at(parts(chain=None, failure="no memory"))
    assert (alone.is_engine_failed, alone.is_chain_lost) == (True, None)
    assert look_at(parts(chain="ok", devnet="its own")).num_peers is None


# ---- the journal


def test_a_full_queue_drops_the_oldest_and_counts_it(home: Home) -> None:
    journal = open_journal(home)
    alerts = [new_alert("engine", "begins", now_s=at_s) for at_s in range(WAITING_MAX + 2)]
    for alert in alerts:
        journal.put("webhook", alert)
    journal.save()
    again = open_journal(home)
    assert (list(again.waiting["webhook"]), again.num_dropped) == (alerts[2:], 2)
    assert again.file.stat().st_mode & 0o777 == 0o600


def test_an_urgent_alert_waits_before_all_others_and_takes_the_place_of_one(home: Home) -> None:
    journal = open_journal(home)
    peers = [new_alert("peers", "begins", now_s=at_s) for at_s in range(WAITING_MAX)]
    full, disk = new_alert("disk", "begins", now_s=100), new_alert("disk", "over", now_s=101)
    for alert in (*peers, full, disk):
        journal.put("webhook", alert)
    assert list(journal.waiting["webhook"]) == [full, disk, *peers[2:]]
    journal.waiting["webhook"].clear()
    urgent = [new_alert("gas", "begins", now_s=at_s) for at_s in range(WAITING_MAX)]
    for alert in (*urgent, peers[0]):
        journal.put("webhook", alert)
    assert list(journal.waiting["webhook"]) == urgent  # the only one that is not urgent gives way
    assert journal.num_dropped == 3


@pytest.mark.parametrize("text", ["{", '{"schema": "openledger.alerts/9"}', "\xff"])
def test_a_damaged_journal_is_begun_anew(home: Home, text: str) -> None:
    (home.root / "alerts.json").write_bytes(text.encode("latin-1"))
    journal = open_journal(home)
    assert (journal.open_causes, journal.waiting, list(journal.sent)) == ({}, {}, [])


def test_a_full_disk_stops_no_alert(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journals, "write_private", full)
    open_journal(home).save()
    assert "may repeat alerts" in caplog.text


def test_only_a_run_that_was_not_stopped_counts_as_a_crash(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_crashed(home)
    mark_run(home)
    assert not has_crashed(home)  # the same process, with another base
    monkeypatch.setattr(run_mark, "_RUN", "the next process")
    assert has_crashed(home)
    mark_run(home)
    note_stopped(home)
    note_stopped(home)
    monkeypatch.setattr(run_mark, "_RUN", "one more")
    assert not has_crashed(home)


# ---- delivery


def take(status: int = 200, **headers: str) -> tuple[list[httpx.Request], httpx.MockTransport]:
    got: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        got.append(request)
        return httpx.Response(status, headers=headers)

    return got, httpx.MockTransport(handle)


async def test_a_webhook_is_signed_as_standard_webhooks_has_it(home: Home) -> None:
    got, transport = take()
    (receiver,) = receivers_of(home, HOOK)
    alert = new_alert("disk", "begins", now_s=1_700_000_000)
    await deliver(receiver, alert, node_name="attic", now_s=lambda: 1_700_000_007.9, transport=transport)
    (request,) = got
    assert str(request.url) == HOOK.webhook_url
    assert request.headers["webhook-id"] == alert.id
    key = base64.b64decode(load_secret(home).removeprefix("whsec_"))
    signed = f"{alert.id}.1700000007.".encode() + request.content
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"
    body = json.loads(request.content)
    assert (body["type"], body["timestamp"]) == ("openledger.alert.disk", "2023-11-14T22:13:20Z")
    assert body["data"].keys() == {"id", "event", "phase", "text", "urgent", "node", "version"}
    assert (body["data"]["node"], body["data"]["urgent"]) == ("attic", True)


async def test_ntfy_gets_a_title_a_priority_and_the_token(home: Home) -> None:
    got, transport = take()
    keep_token(home, "tk_example")
    (receiver,) = receivers_of(home, AlertsConfig(ntfy_url="https://ntfy.example/attic-17"))
    await deliver(receiver, new_alert("gas", "over", now_s=1), node_name="", now_s=lambda: 2.0, transport=transport)
    (request,) = got
    assert request.content.decode() == TEXTS["gas"][1]
    assert request.headers["title"] == "openledger-node: gas is over"
    assert request.headers["priority"] == "default"
    assert request.headers["authorization"] == "Bearer tk_example"
    keep_token(home, None)
    assert load_token(home) is None


@pytest.mark.parametrize(
    ("status", "words"), [(307, "redirects"), (401, "alerts secret"), (500, "log"), (404, "webhook_url")]
)
async def test_a_receiver_that_refuses_is_named_with_a_remedy(home: Home, status: int, words: str) -> None:
    got, transport = take(status, location="https://elsewhere.example/")
    (receiver,) = receivers_of(home, HOOK)
    with pytest.raises(NetworkError, match=words) as raised:
        await deliver(receiver, trial_alert(now_s=1), node_name="", now_s=lambda: 2.0, transport=transport)
    assert len(got) == 1
    assert "secret-path" not in str(raised.value)
    assert "whsec" not in repr(receiver)
    assert "secret-path" not in repr(receiver)


async def test_a_receiver_that_hangs_is_given_up(home: Home, autojump_clock: object) -> None:
    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.sleep_forever()
            raise AssertionError

    (receiver,) = receivers_of(home, HOOK)
    with pytest.raises(NetworkError, match="did not answer within 20 s"):
        await deliver(receiver, trial_alert(now_s=1), node_name="", now_s=lambda: 2.0, transport=Hanging())


def test_secrets_that_others_can_read_or_that_are_damaged_are_refused(home: Home) -> None:
    load_secret(home)
    file = home.keys / "alerts-webhook.secret"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secret(home)
    file.chmod(0o600)
    file.write_text("whsec_short")
    with pytest.raises(ConfigError, match="secret --new"):
        load_secret(home)
    draw_secret(home)
    assert load_secret(home).startswith("whsec_")
    for token in ("", "two words", "tk_\u00e9", "tk_\nx", "x" * 600):
        with pytest.raises(ConfigError, match="that is no token"):
            keep_token(home, token)


# ---- the task


class Inbox:
    """A receiver that refuses while it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.refuses = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.refuses:
            raise httpx.ConnectError("no network", request=request)
        data = json.loads(request.content)["data"]
        self.got.append((data["event"], data["phase"]))
        self.ids.append(data["id"])
        return httpx.Response(204)


def service(home: Home, inbox: Callable[[httpx.Request], httpx.Response], signs: AlertSigns) -> AlertService:
    def now_s() -> float:
        return 1_700_000_000 + trio.current_time()

    return AlertService(home, HOOK, lambda: signs, now_s=now_s, transport=httpx.MockTransport(inbox))


async def live(alerts: AlertService, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await alerts.run()


async def test_an_alert_outlasts_a_lost_network_and_a_restart(home: Home, autojump_clock: object) -> None:
    inbox = Inbox()
    inbox.refuses = True
    await live(service(home, inbox, FAILED), 4_000.0)
    inbox.refuses = False
    await live(service(home, inbox, FAILED), 100.0)
    await live(service(home, inbox, FAILED), 4_000.0)
    await live(service(home, inbox, FINE), 1_000.0)
    assert inbox.got == [("engine", "begins"), ("engine", "over")]
    assert len(set(inbox.ids)) == 2
    assert open_journal(home).open_causes == {}


async def test_a_sleep_of_the_machine_is_no_cause(home: Home, autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service(home, inbox, replace(FINE, num_peers=0)).run)
        await trio.sleep(60.0)
        autojump_clock.jump(8 * 3_600.0)
        await trio.sleep(60.0)
        nursery.cancel_scope.cancel()
    assert inbox.got == []


async def test_a_crash_is_said_at_the_next_start_and_once(
    home: Home, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox()
    await live(service(home, inbox, FINE), 100.0)
    monkeypatch.setattr(run_mark, "_RUN", "the next process")
    await live(service(home, inbox, FINE), 100.0)
    await live(service(home, inbox, FINE), 100.0)
    assert inbox.got == [("restarted", "once")]


@pytest.mark.parametrize("stopped_at", ["crash", "sent"])
async def test_a_stop_at_any_moment_loses_and_repeats_no_alert(
    home: Home, autojump_clock: object, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    inbox, stop = Inbox(), trio.CancelScope()
    await live(service(home, inbox, FINE), 10.0)
    monkeypatch.setattr(run_mark, "_RUN", "the next process")

    def crashed(home: Home) -> bool:
        stop.cancel()
        return has_crashed(home)

    def stop_when_sent(request: httpx.Request) -> httpx.Response:
        stop.cancel()
        return inbox(request)

    with monkeypatch.context() as patch, stop:
        if stopped_at == "crash":
            patch.setattr(services, "has_crashed", crashed)
        await service(home, stop_when_sent if stopped_at == "sent" else inbox, FINE).run()
    monkeypatch.setattr(run_mark, "_RUN", "one more process")
    await live(service(home, inbox, FINE), 100.0)
    assert inbox.got[0] == ("restarted", "once")
    assert len(set(inbox.ids)) == len(inbox.ids)


async def test_a_receiver_gets_only_so_many_alerts_in_an_hour(home: Home, autojump_clock: object) -> None:
    journal, inbox = open_journal(home), Inbox()
    for _ in range(PER_HOUR_MAX + 5):
        journal.put("webhook", new_alert("engine", "begins", now_s=1))
    journal.save()
    await live(service(home, inbox, FINE), 3_500.0)
    assert len(inbox.got) == PER_HOUR_MAX
    await live(service(home, inbox, FINE), 3_700.0)
    assert len(inbox.got) == PER_HOUR_MAX + 5


async def test_a_receiver_that_fails_is_asked_less_and_less_often(home: Home, autojump_clock: object) -> None:
    asked: list[float] = []

    def refuse(_: httpx.Request) -> httpx.Response:
        asked.append(trio.current_time())
        return httpx.Response(503)

    await live(service(home, refuse, FAILED), 7_200.0)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 900.0
    assert len(asked) < 20


async def test_a_bad_secret_ends_the_alerts_and_not_the_node(
    home: Home, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    load_secret(home)
    (home.keys / "alerts-webhook.secret").chmod(0o644)
    await service(home, Inbox(), FAILED).run()
    assert "no alerts are sent" in caplog.text
    assert "chmod 600" in caplog.text


async def test_only_a_receiver_that_answers_gets_alerts_and_none_that_are_muted_and_no_secret_is_logged(
    home: Home, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    got: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        got.append(request.url.host)
        return httpx.Response(503 if request.url.host == "hooks.example" else 200)

    caplog.set_level(logging.INFO, logger="openledger_node")
    both = replace(HOOK, ntfy_url="https://ntfy.example/attic-17")
    muted = replace(both, muted="disk, engine")
    for config in (AlertsConfig(), muted):
        await live(AlertService(home, config, lambda: FAILED, transport=httpx.MockTransport(handle)), 100.0)
        assert got == []
    open_journal(home).file.unlink()
    await live(AlertService(home, both, lambda: FAILED, transport=httpx.MockTransport(handle)), 100.0)
    assert got.count("ntfy.example") == 1
    assert "hooks.example" in caplog.text
    assert not any(secret in caplog.text for secret in ("secret-path", "attic-17", load_secret(home)))


# ---- settings and docs


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ntfy.sh/topic", "not a URL"),
        ("ftp://a.example/", "https://"),
        ("http://127.0.0.1.a.example/", "not encrypted"),
        ("https://me:word@a.example/", "holds a user or password"),
        ("https://a.example/#part", "behind #"),
    ],
)
def test_a_url_that_is_not_safe_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        read_upkeep_url(url)
    assert "me:word" not in str(raised.value)
    for safe in ("", "https://a.example/x?y=z", "http://127.0.0.1:8000/x", "http://[::1]:8000/"):
        assert read_upkeep_url(safe) == safe
