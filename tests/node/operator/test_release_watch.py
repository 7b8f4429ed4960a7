"""A node that looks for releases asks seldom, tells once, and updates itself only if that is safe and wanted."""

import errno
import json
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from support.release_site import manifest_fields, new_key, public, release_site, signed_manifest

from openledger_node import __version__
from openledger_node.errors import ConfigError, NetworkError, NodeError, explain_disk
from openledger_node.home import Home
from openledger_node.node_events import EventKind, NodeEvent, listening_to_events
from openledger_node.operator.updates import offer as offer_steps
from openledger_node.operator.updates import watch
from openledger_node.operator.updates.manifest import read_manifest
from openledger_node.operator.updates.offer import ReleaseOffer, find_offer
from openledger_node.operator.updates.releases import (
    InstalledRelease,
    fall_back,
    one_update,
    read_choice,
    switch_to,
    take_restart,
)
from openledger_node.operator.updates.watch import LOOK_EVERY_S, ReleaseWatch
from openledger_node.upkeep_tables import UpdateConfig

KEY = new_key()
NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
LOOKS, AUTO = UpdateConfig(check=True), UpdateConfig(auto=True)


def offered(home: Home, version: str, **changes: Any) -> ReleaseOffer:
    content = signed_manifest(manifest_fields("https://x.example", b"w", b"l", version, **changes), KEY)
    manifest = read_manifest(content, keys=(public(KEY),), signatures_min=1, now_s=NOW_S)
    return ReleaseOffer(manifest=manifest, choice=read_choice(home))


def release(home: Home, version: str, *, ledger: int = 5) -> InstalledRelease:
    program = home.root / "releases" / f"{version}-aa" / "bin" / "openledger-node"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.touch()
    return InstalledRelease(version=version, program=str(program), ledger=ledger)


@dataclass
class Node:
    """A node with a clock and a server that are set by hand; `start` is a new process of it."""

    home: Home
    config: UpdateConfig = LOOKS
    newest: str = __version__
    fields: dict[str, Any] = field(default_factory=dict)
    failure: NodeError | None = None  # of the server
    broken: Exception | None = None  # of the installation
    ledger: int = 5
    now_s: float = NOW_S
    is_idle: bool = True
    looks: list[float] = field(default_factory=list)
    installs: list[str] = field(default_factory=list)
    num_stops: int = 0
    heard: list[NodeEvent] = field(default_factory=list)
    watch: ReleaseWatch = field(init=False)

    async def start(self) -> None:
        self.watch = ReleaseWatch(
            self.home,
            self.config,
            now_s=lambda: self.now_s,
            draw=lambda low, high: (low + high) / 2,
            find=self.find,
            install=self.install,
        )
        self.watch.attend(lambda: self.is_idle, self.stop)
        await self.watch.begin()

    async def find(self, home: Home, config: UpdateConfig) -> ReleaseOffer:
        self.looks.append(self.now_s)
        if self.failure:
            raise self.failure
        return offered(home, self.newest, **self.fields)

    def install(self, home: Home, offer: ReleaseOffer, tell: Any, agree: Any) -> InstalledRelease:
        self.installs.append(offer.version)
        if self.broken:
            raise self.broken
        new, running = release(home, offer.version, ledger=self.ledger), release(home, __version__)
        agree(new, running)
        switch_to(home, new, running)
        return new

    def stop(self) -> None:
        self.num_stops += 1

    async def live(self, seconds: float, *, step_s: float = 1_800.0) -> None:
        until_s = self.now_s + seconds
        with listening_to_events(self.heard.append):
            while self.now_s < until_s:
                self.now_s += step_s
                await self.watch.step()

    @property
    def says(self) -> str:
        found = self.watch.to_plain()
        assert found is not None
        return str(found["says"])


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(watch, "why_not_here", lambda: None)
    logging.getLogger("openledger_node").setLevel(logging.INFO)
    return Node(Home(tmp_path))


async def test_a_node_looks_for_nothing_unless_its_owner_says_so(node: Node) -> None:
    node.config = UpdateConfig()
    node.watch = ReleaseWatch(node.home, node.config, find=node.find)
    with trio.fail_after(5):
        await node.watch.run()  # ends at once
    assert (node.looks, node.watch.to_plain(), node.watch.newest) == ([], None, "")
    assert list(node.home.root.iterdir()) == []


async def test_it_looks_about_once_a_day_also_if_it_restarts_all_the_time(node: Node) -> None:
    for _ in range(20):
        await node.start()
        await node.live(DAY_S / 2)
    assert len(node.looks) == pytest.approx(10, abs=1)
    assert all(b - a >= LOOK_EVERY_S[0] for a, b in zip(node.looks, node.looks[1:], strict=False))


async def test_a_clock_that_was_set_back_puts_the_next_look_off_by_days_at_most(node: Node) -> None:
    node.now_s += 1_000 * DAY_S
    await node.start()
    await node.live(DAY_S)
    node.now_s = NOW_S
    await node.live(DAY_S)
    assert any(at_s < NOW_S + DAY_S for at_s in node.looks)


async def test_a_release_is_told_once_and_the_next_one_again(node: Node) -> None:
    node.newest = "9.0.0"
    for newest in ("9.0.0", "9.0.0", "9.1.0"):
        node.newest = newest
        await node.start()
        await node.live(3 * DAY_S)
    assert [(each.kind, each.text) for each in node.heard] == [
        (EventKind.RELEASE_AVAILABLE, f"version {version} is available: `openledger-node update` installs it")
        for version in ("9.0.0", "9.1.0")
    ]
    assert node.watch.to_plain() == {
        "newest": "9.1.0",
        "notes": "Answers are faster.",
        "looked": pytest.approx(node.watch.to_plain()["looked"]),  # type: ignore[index]
        "auto": False,
        "says": "version 9.1.0 is available: `openledger-node update` installs it",
    }
    assert node.installs == []


@pytest.mark.parametrize("version", [__version__, "0.0.1"])
async def test_what_is_no_newer_is_neither_told_nor_installed(node: Node, version: str) -> None:
    node.config, node.newest = AUTO, version
    await node.start()
    await node.live(3 * DAY_S)
    assert (node.heard, node.installs, node.watch.newest, node.says) == ([], [], "", "")


async def test_a_server_that_fails_is_asked_no_more_often(node: Node) -> None:
    node.failure = NetworkError("x.example answered with status 500")
    await node.start()
    await node.live(5 * DAY_S)
    assert len(node.looks) <= 6
    assert node.says == "the last look for a release has failed: x.example answered with status 500"
    node.failure = None
    await node.live(2 * DAY_S)
    assert node.says == ""


async def test_a_release_is_installed_and_started_at_idle_moments(node: Node) -> None:
    node.config, node.newest, node.is_idle = AUTO, "9.0.0", False
    await node.start()
    await node.live(DAY_S)
    assert (node.installs, node.says) == ([], "version 9.0.0 is available; the node installs it when it is idle")
    node.is_idle = True
    await node.live(1_800.0)
    assert (node.installs, node.num_stops) == (["9.0.0"], 0)
    assert node.says == "version 9.0.0 is installed; the node starts it when it is idle"
    node.is_idle = False
    await node.live(DAY_S)
    assert (node.installs, node.num_stops, take_restart(node.home)) == (["9.0.0"], 0, False)
    node.is_idle = True
    await node.live(DAY_S)
    assert (node.installs, node.num_stops, take_restart(node.home)) == (["9.0.0"], 1, True)
    choice = read_choice(node.home)
    assert choice is not None
    assert (choice.current.version, choice.tries) == ("9.0.0", 0)


async def test_a_node_that_does_not_go_by_the_choice_is_restarted_once(node: Node) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    for _ in range(4):
        await node.start()  # the same release runs again
        await node.live(2 * DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0"], 1)
    assert node.says == (
        "version 9.0.0 is installed, and the node does not start it by itself: it was started from another "
        "installation"
    )


async def test_a_release_that_the_node_has_left_is_not_tried_again_and_the_next_one_is(node: Node) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    await node.start()
    await node.live(DAY_S)
    assert node.num_stops == 1
    fall_back(node.home, "it was not ready within 600 s", now_s=NOW_S)
    for _ in range(3):
        await node.start()
        await node.live(2 * DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0"], 1)
    assert "the node has left it, because it was not ready within 600 s" in node.says
    node.newest = "9.0.1"
    await node.live(2 * DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0", "9.0.1"], 2)


@pytest.mark.parametrize(
    ("broken", "num_installs"),
    [
        (NodeError("pip can't install the release"), 1),
        (NetworkError("x.example can't be reached"), 5),
        (ConfigError("another update runs on this data directory"), 5),
        (explain_disk(OSError(errno.ENOSPC, "no space"), "releases"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
    ],
)
async def test_what_failed_is_not_tried_again_unless_the_release_had_no_part_in_it(
    node: Node, broken: NodeError | OSError, num_installs: int
) -> None:
    node.config, node.newest, node.broken = AUTO, "9.0.0", broken
    await node.start()
    await node.live(2.5 * DAY_S)
    await node.start()
    await node.live(2.5 * DAY_S)
    assert len(node.installs) == pytest.approx(num_installs, abs=1 if num_installs > 1 else 0)
    assert len(node.looks) <= 7
    assert node.num_stops == 0
    assert (str(broken) if isinstance(broken, NodeError) else "is full: free some space") in node.says


async def test_a_release_that_the_owner_rolls_back_before_it_has_started_stays_away(node: Node) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    await node.start()
    while not node.installs:
        await node.live(1_800.0)
    fall_back(node.home, "its owner has rolled it back", now_s=NOW_S)
    await node.live(3 * DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0"], 0)
    assert "the node has left it, because its owner has rolled it back" in node.says


async def test_a_later_release_that_the_owner_has_installed_is_started_and_not_replaced(node: Node) -> None:
    node.config, node.newest, node.is_idle = AUTO, "9.0.0", False
    await node.start()
    await node.live(DAY_S)
    switch_to(node.home, release(node.home, "9.1.0"), release(node.home, __version__))
    node.is_idle = True
    await node.live(DAY_S)
    assert (node.installs, node.num_stops, take_restart(node.home)) == ([], 1, True)
    choice = read_choice(node.home)
    assert choice is not None
    assert choice.current.version == "9.1.0"


async def test_a_release_whose_manifest_expires_before_an_idle_moment_is_looked_for_again(node: Node) -> None:
    soon = datetime.fromtimestamp(NOW_S + 1.5 * DAY_S, UTC).isoformat()
    node.config, node.newest, node.is_idle, node.fields = AUTO, "9.0.0", False, {"expires": soon}
    await node.start()
    await node.live(0.8 * DAY_S)
    node.failure = NetworkError("the manifest expired")
    await node.live(DAY_S)
    node.is_idle = True
    await node.live(DAY_S)
    assert (node.installs, "its manifest has expired since the last look" in node.says) == ([], True)
    node.failure, node.fields = None, {}
    await node.live(2 * DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0"], 1)


@pytest.mark.parametrize("full", ["order_restart", "write_private"])
async def test_a_full_disk_at_the_restart_ends_nothing_and_is_tried_again(
    node: Node, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise explain_disk(OSError(errno.ENOSPC, "no space"), "releases")

    node.config, node.newest = AUTO, "9.0.0"
    await node.start()
    while not node.installs:
        await node.live(1_800.0)
    with monkeypatch.context() as tight:
        tight.setattr(watch, full, fail)
        await node.live(3_600.0)
        assert (node.num_stops, take_restart(node.home)) == (0, False)
        assert "is installed, and the node does not start it by itself: it can't be started again" in node.says
    await node.live(2 * DAY_S)
    assert (node.installs, node.num_stops, take_restart(node.home)) == (["9.0.0"], 1, True)


async def test_a_choice_that_was_damaged_meanwhile_ends_no_node(node: Node) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    (node.home.root / "releases").mkdir()
    (node.home.root / "releases" / "current.json").write_text("{")
    node.find = lambda *_: offer_of(node)  # type: ignore[method-assign]
    await node.start()
    await node.live(DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0"], 0)
    assert "current.json can't be read" in node.says


async def offer_of(node: Node) -> ReleaseOffer:
    """The offer as it was before the file was damaged."""
    return replace(offered(Home(node.home.root / "elsewhere"), node.newest), choice=None)


async def test_a_release_that_the_owner_has_installed_is_not_said_to_be_there_to_install(node: Node) -> None:
    node.newest = "9.0.0"
    await node.start()
    await node.live(DAY_S)
    switch_to(node.home, release(node.home, "9.0.0"), release(node.home, __version__))
    await node.start()
    assert node.says == "version 9.0.0 is installed; the next start runs it"


async def test_a_crash_in_the_middle_counts_as_a_failure(node: Node) -> None:
    node.config, node.newest, node.broken = AUTO, "9.0.0", SystemError("the machine went off")
    await node.start()
    with pytest.raises(SystemError):
        await node.live(DAY_S)
    await node.start()
    await node.live(3 * DAY_S)
    assert node.installs == ["9.0.0"]
    assert "by itself: the node ended while it installed it" in node.says


async def test_a_stop_by_the_owner_in_the_middle_is_no_failure(node: Node) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    await node.start()
    with trio.CancelScope() as scope:
        node.broken = None
        node.watch._install = lambda *_: trio.from_thread.run_sync(scope.cancel)  # type: ignore[assignment]
        await node.live(DAY_S)
    assert scope.cancelled_caught
    await node.start()
    await node.live(DAY_S)
    assert (node.installs, node.num_stops) == (["9.0.0"], 1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ledger": 6}, "it changes the ledger, so there is no way back from it"),
        ({"fields": {"minimum": "8.0.0"}}, "it can be reached only from 8.0.0, so install it by hand"),
    ],
)
async def test_what_has_no_way_there_or_back_is_left_to_the_owner(
    node: Node, change: dict[str, Any], why: str
) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    for name, value in change.items():
        setattr(node, name, value)
    await node.start()
    await node.live(3 * DAY_S)
    assert (node.num_stops, read_choice(node.home)) == (0, None)
    assert len(node.installs) <= 1
    assert why in node.says


async def test_a_checkout_is_told_of_and_does_not_update_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "why_not_here", lambda: "this node runs from a checkout of the source")
    node.config, node.newest = AUTO, "9.0.0"
    await node.start()
    await node.live(2 * DAY_S)
    assert (node.installs, len(node.heard)) == ([], 1)
    assert node.says.endswith("by itself: this node runs from a checkout of the source")


async def test_an_updated_node_has_nothing_to_say(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.config, node.newest = AUTO, "9.0.0"
    await node.start()
    await node.live(DAY_S)
    monkeypatch.setattr(watch, "__version__", "9.0.0")
    monkeypatch.setattr(offer_steps, "__version__", "9.0.0")
    await node.start()
    assert (node.watch.newest, node.says) == ("", "")
    await node.live(3 * DAY_S)
    assert (node.num_stops, node.says) == (1, "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\xff",
        '{"schema": "x"}',
        '{"schema": "openledger.release_look/1", "newest": "soon"}',
        '{"schema": "openledger.release_look/1", "next_s": NaN}',
        '{"schema": "openledger.release_look/1", "a": 1}',
    ],
)
async def test_a_damaged_file_is_begun_anew(node: Node, text: str) -> None:
    node.newest = "9.0.0"
    (node.home.root / "release_look.json").write_text(text, encoding="latin-1")
    await node.start()
    await node.live(DAY_S)
    assert node.watch.newest == "9.0.0"
    assert json.loads((node.home.root / "release_look.json").read_text())["newest"] == "9.0.0"


async def test_a_look_over_the_network_is_verified(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with release_site() as site:
        site.files["/manifest.json"] = signed_manifest(manifest_fields(site.url, b"w", b"l", "9.0.0"), KEY)
        config = UpdateConfig(check=True, url=f"{site.url}/manifest.json", keys=public(KEY))
        assert (await find_offer(home, config)).version == "9.0.0"
        with pytest.raises(NetworkError, match="0 valid signatures"):
            await find_offer(home, UpdateConfig(check=True, url=config.url, keys=public(new_key(2))))
        switch_to(home, release(home, "9.1.0"), release(home, __version__))
        with pytest.raises(NetworkError, match="its server shows an old one"):
            await find_offer(home, config)


async def test_a_node_and_a_command_never_update_at_once(tmp_path: Path) -> None:
    """The lock is the same file, whoever takes it."""
    home = Home(tmp_path)
    with one_update(home), pytest.raises(ConfigError, match="another update runs"):
        await trio.to_thread.run_sync(
            offer_steps.install_offer, home, offered(home, "9.0.0"), lambda _: None, _agree_to_all
        )


async def test_an_offer_that_is_older_than_what_was_installed_since_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    offer = offered(home, "9.0.0")
    switch_to(home, release(home, "9.1.0"), release(home, __version__))
    with pytest.raises(NetworkError, match=r"9\.1\.0 was installed here before"):
        await trio.to_thread.run_sync(offer_steps.install_offer, home, offer, lambda _: None, _agree_to_all)


async def test_a_release_that_nobody_agrees_to_leaves_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NodeError("it changes the ledger")

    home = Home(tmp_path)
    monkeypatch.setattr(offer_steps, "fetch_file", lambda file, into: into / file.name)
    monkeypatch.setattr(offer_steps, "install_release", lambda home, *_: release(home, "9.0.0"))
    with pytest.raises(NodeError, match="it changes the ledger"):
        await trio.to_thread.run_sync(offer_steps.install_offer, home, offered(home, "9.0.0"), lambda _: None, refuse)
    assert (list((tmp_path / "releases").glob("9*")), read_choice(home)) == ([], None)


def _agree_to_all(*_: object) -> None: ...
