"""`update`: what a user sees without a source, from a checkout, and when it goes wrong on the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.release_site import ReleaseSite, manifest_fields, new_key, public, release_site, signed_manifest
from support.verbs import Run

from openledger_node import __version__
from openledger_node.cli import update as updates
from openledger_node.cli.daemon_client import SilentError
from openledger_node.cli.prompts import confirm
from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Holder, Home, claim_home
from openledger_node.operator.updates import environment
from openledger_node.operator.updates import offer as offer_steps
from openledger_node.operator.updates.releases import (
    InstalledRelease,
    end_try,
    one_update,
    read_choice,
    releases_folder,
    switch_to,
    take_restart,
)

KEY = new_key()


@pytest.fixture
def site() -> Iterator[ReleaseSite]:
    with release_site() as found:
        yield found


def offer(run: Run, site: ReleaseSite, version: str, **changes: Any) -> None:
    fields = manifest_fields(site.url, b"wheel", b"lock", version, **changes)
    site.files["/manifest.json"] = signed_manifest(fields, KEY)
    site.files[f"/openledger_node-{version}-py3-none-any.whl"] = b"wheel"
    site.files["/run.lock"] = b"lock"
    run("config", "set", "update.url", f"{site.url}/manifest.json")
    run("config", "set", "update.keys", public(KEY))


def installed(folder: Path, version: str) -> InstalledRelease:
    program = folder / "bin" / "openledger-node"
    program.parent.mkdir(parents=True)
    program.touch()
    return InstalledRelease(version=version, program=str(program), ledger=15)


@pytest.fixture
def as_tool(monkeypatch: pytest.MonkeyPatch, home: Home) -> InstalledRelease:
    """An installation that can update itself, and a stand-in for pip; returns the release that gets installed."""
    new = installed(releases_folder(home) / "9.0.0-aa", "9.0.0")
    monkeypatch.setattr(environment, "is_checkout", lambda: False)
    monkeypatch.setattr(offer_steps, "install_release", lambda *_: new)
    monkeypatch.setattr(offer_steps, "remove_unused", lambda _: None)
    return new


def test_without_a_source_it_says_so(run: Run) -> None:
    ran = run("update", "--check")
    assert ran.status == 3
    assert "there is no public one yet" in ran.stderr


def test_a_checkout_says_what_to_do_instead(run: Run) -> None:
    ran = run("update", "--yes")
    assert ran.status == 3
    assert "run `git pull`" in ran.stderr


@pytest.mark.parametrize("also", ["--rollback", "--now", "--yes"])
def test_a_check_with_an_option_that_changes_something_is_a_slip(run: Run, also: str) -> None:
    assert run("update", "--check", also).status == 2


def test_a_check_names_the_newest_release(run: Run, site: ReleaseSite) -> None:
    offer(run, site, "9.0.0", notes="Answers are faster.")
    found = run("update", "--check", "--json").json
    assert (found["installed"], found["newest"], found["is_newer"]) == (__version__, "9.0.0", True)
    shown = run("update", "--check")
    assert "Answers are faster." in shown.stdout
    assert "to install it: `openledger-node update`" in shown.stderr
    offer(run, site, __version__)
    assert "this is the newest release" in run("update", "--check").stderr


@pytest.mark.parametrize("version", ["0.0.9", "8.0.0"])
def test_an_older_manifest_than_what_was_installed_is_refused(
    run: Run, site: ReleaseSite, home: Home, tmp_path: Path, version: str
) -> None:
    switch_to(home, installed(tmp_path / "b", "9.0.0"), installed(tmp_path / "a", __version__))
    offer(run, site, version)
    ran = run("update", "--check")
    assert ran.status == 6
    assert "its server shows an old one" in ran.stderr


def test_a_manifest_of_a_stranger_is_refused(run: Run, site: ReleaseSite) -> None:
    offer(run, site, "9.0.0")
    run("config", "set", "update.keys", public(new_key(2)))
    ran = run("update", "--check")
    assert ran.status == 6
    assert "0 valid signatures" in ran.stderr


def test_a_stopped_node_switches_at_its_next_start(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease
) -> None:
    offer(run, site, "9.0.0")
    ran = run("update", "--yes")
    assert ran.status == 0
    assert "version 9.0.0 is installed; `openledger-node start` runs it" in ran.stderr
    choice = read_choice(home)
    assert choice
    assert (choice.current, choice.tries) == (as_tool, 0)
    assert "/run.lock" in site.asked


def test_without_a_yes_nothing_is_installed(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease
) -> None:
    offer(run, site, "9.0.0")
    assert run("update").status == 3  # no terminal to ask at
    assert read_choice(home) is None


def test_a_release_that_this_version_is_too_old_for_is_refused(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease
) -> None:
    offer(run, site, "9.0.0", minimum="8.0.0")
    ran = run("update", "--yes")
    assert ran.status == 3
    assert "install it by hand" in ran.stderr


def test_a_file_that_was_changed_on_its_way_stops_the_update(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease
) -> None:
    offer(run, site, "9.0.0")
    site.files["/run.lock"] = b"luck"
    ran = run("update", "--yes")
    assert ran.status == 6
    assert "its SHA-256 differs" in ran.stderr
    assert read_choice(home) is None


def test_the_release_that_was_agreed_to_is_installed_whatever_the_server_shows_next(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(run, site, "9.0.0")
    given: list[str] = []

    def show_another(*words: Any, **options: Any) -> None:
        confirm(*words, **options)
        offer(run, site, "0.0.1")  # signed by the same key, and older than what runs

    def install(_: Home, manifest: Any, *__: Any) -> InstalledRelease:
        given.append(str(manifest.version))
        return as_tool

    monkeypatch.setattr(updates, "confirm", show_another)
    monkeypatch.setattr(offer_steps, "install_release", install)
    run("update", "--yes")
    assert given == ["9.0.0"]
    assert site.asked.count("/manifest.json") == 1


def test_no_second_update_begins_before_the_first_has_chosen_its_release(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(run, site, "9.0.0")
    refused: list[str] = []

    def agree(*_: Any, **__: Any) -> None:
        with pytest.raises(ConfigError, match="another update runs") as second, one_update(home):
            pass
        refused.append(str(second.value))

    monkeypatch.setattr(updates, "_agree", agree)
    assert run("update", "--yes").status == 0
    assert len(refused) == 1
    with one_update(home):
        pass


def test_without_a_former_release_there_is_no_way_back(run: Run) -> None:
    ran = run("update", "--rollback", "--yes")
    assert ran.status == 3
    assert "there is no former release" in ran.stderr


def test_a_rollback_chooses_the_former_release(run: Run, home: Home, tmp_path: Path) -> None:
    former = installed(tmp_path / "a", "0.1.0")
    switch_to(home, installed(tmp_path / "b", "9.0.0"), former)
    end_try(home, was_ready=True)
    ran = run("update", "--rollback", "--yes")
    assert ran.status == 0
    assert "version 0.1.0 is chosen again; start the node" in ran.stderr
    choice = read_choice(home)
    assert choice
    assert choice.current == former


# ---- a running node


class ScriptedNode:
    """Answers of a daemon, one a question; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, _: Home, method: str, path: str, *__: Any) -> Any:
        self.asked.append(path)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


IDLE = {"state": "idle", "requests": {"running": 0, "waiting": 0}}
BUSY = {"state": "serving", "requests": {"running": 1, "waiting": 0}}
TRAINING = {"state": "training", "requests": {"running": 0, "waiting": 0}}


@pytest.fixture
def silent(home: Home) -> SilentError:
    return SilentError(home, Holder(name="daemon", process=1), FileNotFoundError())


def restart(home: Home, monkeypatch: pytest.MonkeyPatch, node: ScriptedNode, *, waits: bool) -> bool:
    releases_folder(home).mkdir(exist_ok=True)
    monkeypatch.setattr(updates, "ask_daemon", node)
    monkeypatch.setattr(updates, "POLL_S", 0.0)
    return updates._restart(home, waits=waits)


def test_the_switch_waits_for_a_node_that_starts_answers_or_trains(
    home: Home, monkeypatch: pytest.MonkeyPatch, silent: SilentError
) -> None:
    node = ScriptedNode(silent, BUSY, TRAINING, IDLE, {"state": "draining"})
    assert restart(home, monkeypatch, node, waits=True)
    assert node.asked == ["/status"] * 4 + ["/stop"]
    assert take_restart(home)


def test_with_now_it_waits_only_until_the_node_listens(
    home: Home, monkeypatch: pytest.MonkeyPatch, silent: SilentError
) -> None:
    node = ScriptedNode(silent, BUSY, {"state": "draining"})
    assert restart(home, monkeypatch, node, waits=False)


def test_an_order_that_the_node_does_not_take_is_withdrawn(
    home: Home, monkeypatch: pytest.MonkeyPatch, silent: SilentError
) -> None:
    with pytest.raises(NodeError):
        restart(home, monkeypatch, ScriptedNode(IDLE, silent), waits=True)
    assert not take_restart(home)  # else the next `stop` would start the node again


def test_a_node_that_ended_meanwhile_gets_no_order(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not restart(home, monkeypatch, ScriptedNode(None), waits=True)
    assert not take_restart(home)


def test_a_release_that_the_node_has_left_ends_the_update_with_its_reason(
    run: Run, site: ReleaseSite, home: Home, as_tool: InstalledRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openledger_node.operator.updates.releases import fall_back

    offer(run, site, "9.0.0")
    monkeypatch.setattr(offer_steps, "running_release", lambda: installed(home.root / "first", __version__))

    def leave(*_: Any, **__: Any) -> bool:
        assert fall_back(home, "it was not ready within 600 s", now_s=1.0)
        return True

    monkeypatch.setattr(updates, "_restart", leave)
    with claim_home(home):
        ran = run("update", "--yes")
    assert ran.status == 1
    assert f"the node has returned to version {__version__}, because it was not ready within 600 s" in ran.stderr
