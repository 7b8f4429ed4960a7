"""The choice of a release, its trial and the way back, at each moment at which a process can end."""

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from openledger_node.cli import release_run
from openledger_node.cli.release_run import RESTART_STATUS, Trial, ends_by_exit, hand_over, run_start
from openledger_node.errors import ConfigError, DiskError, ModelError
from openledger_node.home import CommandRunningError, Home, claim_home
from openledger_node.operator.alerts.run_mark import has_crashed
from openledger_node.operator.updates.releases import (
    InstalledRelease,
    ReleaseChoice,
    begin_try,
    end_try,
    fall_back,
    lasting_program,
    note_start_s,
    one_update,
    order_restart,
    read_choice,
    ready_within_s,
    releases_folder,
    remove_unused,
    switch_to,
    take_restart,
    why_no_way_back,
)
from openledger_node.upkeep_tables import UpdateConfig

NOW_S = 1_800_000_000.0


class Replaced(Exception):
    """In place of another program in this process."""


def installed(folder: Path, version: str, *, ledger: int = 15) -> InstalledRelease:
    program = folder / "bin" / "openledger-node"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    return InstalledRelease(version=version, program=str(program), ledger=ledger)


@pytest.fixture
def first(tmp_path: Path) -> InstalledRelease:
    return installed(tmp_path / "first", "0.1.0")


@pytest.fixture
def new(home: Home) -> InstalledRelease:
    return installed(releases_folder(home) / "0.2.0-aa", "0.2.0")


def chosen(home: Home) -> ReleaseChoice:
    choice = read_choice(home)
    assert choice is not None
    return choice


# ---- the choice


def test_a_switch_is_a_trial_and_its_first_good_start_ends_it(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    assert read_choice(home) is None
    choice = switch_to(home, new, first)
    assert (choice.current, choice.former, choice.tries) == (new, first, 0)
    assert begin_try(home, choice, now_s=NOW_S).tries == 1
    end_try(home, was_ready=True)
    assert chosen(home).tries is None
    assert begin_try(home, chosen(home), now_s=NOW_S).current == new


def test_a_release_that_ended_before_it_was_ready_is_left_at_the_next_start(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    choice = begin_try(home, switch_to(home, new, first), now_s=NOW_S)  # then the process is killed
    returned = begin_try(home, choice, now_s=NOW_S)
    assert (returned.current, returned.former, returned.tries) == (first, None, None)
    assert returned.fallen_back
    assert returned.fallen_back.why == "it ended before it was ready"
    assert chosen(home) == returned


def test_a_release_that_its_owner_stopped_may_try_again(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    begin_try(home, switch_to(home, new, first), now_s=NOW_S)
    end_try(home, was_ready=False)
    assert begin_try(home, chosen(home), now_s=NOW_S).current == new


def test_the_first_program_stays_the_one_that_hands_over(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    switch_to(home, new, first)
    end_try(home, was_ready=True)
    third = installed(releases_folder(home) / "0.3.0-bb", "0.3.0")
    choice = switch_to(home, third, new)
    assert (choice.first, choice.current, choice.former) == (first, third, new)


def test_the_highest_version_never_falls(home: Home, first: InstalledRelease, new: InstalledRelease) -> None:
    switch_to(home, new, first)
    assert switch_to(home, installed(releases_folder(home) / "0.1.5-bb", "0.1.5"), first).highest == "0.2.0"


def test_a_service_names_the_program_that_no_update_deletes(
    home: Home, first: InstalledRelease, new: InstalledRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(new.folder))
    assert lasting_program(home) is None
    switch_to(home, new, first)
    assert lasting_program(home) == first.program
    monkeypatch.setattr(sys, "prefix", str(first.folder))
    assert lasting_program(home) is None  # its own path, or a link to it, stays


def test_there_is_no_way_back_behind_a_ledger_that_the_former_release_cannot_read(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    switch_to(home, new, first)
    ledger = home.ledger("development-1")
    ledger.parent.mkdir(parents=True)
    connection = sqlite3.connect(ledger)
    connection.execute("PRAGMA user_version = 15")
    assert why_no_way_back(home, first) is None
    connection.execute("PRAGMA user_version = 16")
    connection.close()
    why = why_no_way_back(home, first)
    assert why
    assert "has schema 16, and version 0.1.0 reads up to 15" in why
    assert fall_back(home, "it failed", now_s=NOW_S) is None
    choice = begin_try(home, begin_try(home, chosen(home), now_s=NOW_S), now_s=NOW_S)
    assert choice.current == new


def test_there_is_no_way_back_to_an_environment_that_is_gone(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    switch_to(home, new, first)
    Path(first.program).unlink()
    assert fall_back(home, "it failed", now_s=NOW_S) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "openledger.releases/2"}', '{"schema": "openledger.releases/1"}']
)
def test_a_damaged_choice_names_its_remedy(home: Home, text: str) -> None:
    releases_folder(home).mkdir()
    (releases_folder(home) / "current.json").write_text(text)
    with pytest.raises(ConfigError, match="delete it to run the program that was installed first"):
        read_choice(home)


def test_one_update_runs_at_a_time_and_leaves_no_downloads(home: Home) -> None:
    with one_update(home) as downloads:
        (downloads / "half.partial").write_text("x")
        with pytest.raises(ConfigError, match="another update runs"), one_update(home):
            raise AssertionError
    assert not downloads.exists()


def test_what_a_crash_left_half_made_is_removed_and_chosen_releases_stay(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    switch_to(home, new, first)
    half = installed(releases_folder(home) / "0.3.0-cc", "0.3.0")
    remove_unused(home)
    assert new.folder.exists()
    assert not half.folder.exists()


def test_an_order_to_restart_counts_once_and_not_for_ever(home: Home) -> None:
    assert not take_restart(home)
    releases_folder(home).mkdir()
    order_restart(home)
    assert [take_restart(home), take_restart(home)] == [True, False]
    for old in ("1000000000", "soon"):
        (releases_folder(home) / "restart").write_text(old)
        assert not take_restart(home)


# ---- the command's process


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    programs: list[str] = []

    def execve(program: str, _: Sequence[str], environment: dict[str, str]) -> None:
        programs.append(program + (" handed over" if release_run.HANDED_OVER in environment else ""))
        raise Replaced

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.delenv(release_run.NOTIFY_SOCKET, raising=False)
    return programs


@pytest.fixture
def as_release(monkeypatch: pytest.MonkeyPatch, home: Home) -> Callable[[InstalledRelease], None]:
    """Let this process be the program of a release."""
    monkeypatch.setenv("OPENLEDGER_HOME", str(home.root))

    def be(release: InstalledRelease) -> None:
        monkeypatch.setattr(sys, "prefix", str(release.folder))

    return be


def hand(words: Sequence[str]) -> bool:
    """Hand over, and return True if another program took the process."""
    try:
        hand_over(words)
    except Replaced:
        return True
    return False


AsRelease = Callable[[InstalledRelease], None]


def test_every_command_hands_over_and_only_a_start_is_a_try(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    as_release(first)
    assert not hand(["status"])
    switch_to(home, new, first)
    assert hand(["status"])
    assert hand(["start", "--help"])
    assert chosen(home).tries == 0
    assert hand(["--home", str(home.root), "start"])
    assert chosen(home).tries == 1
    assert replaced == [f"{new.program} handed over"] * 3


def test_the_way_back_does_not_depend_on_the_release_that_is_left(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    as_release(first)
    switch_to(home, new, first)
    assert not hand(["update", "--rollback"])
    assert hand(["update"])


def test_a_process_that_was_handed_over_hands_over_no_more(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch_to(home, new, first)
    as_release(first)
    monkeypatch.setenv(release_run.HANDED_OVER, "1")
    assert not hand(["start"])
    assert release_run.HANDED_OVER not in os.environ


def test_another_installation_and_a_checkout_run_as_they_are(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    tmp_path: Path,
) -> None:
    switch_to(home, new, first)
    as_release(installed(tmp_path / "checkout", "0.1.0"))
    assert not hand(["start"])
    assert chosen(home).tries == 0


def test_a_first_program_that_its_owner_has_brought_further_runs_itself(
    home: Home, first: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    older = installed(releases_folder(home) / "0.0.9-aa", "0.0.9")
    switch_to(home, older, first)
    as_release(first)
    assert not hand(["start"])


def start(status: int | BaseException = 0) -> Callable[[Sequence[str]], int]:
    def run(_: Sequence[str]) -> int:
        if isinstance(status, BaseException):
            raise status
        return status

    return run


def test_a_restart_that_an_update_ordered_starts_the_first_program(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    as_release(first)

    def run(_: Sequence[str]) -> int:
        switch_to(home, new, first)
        order_restart(home)
        return 0

    with pytest.raises(Replaced):
        run_start(["start"], run)
    assert replaced == [first.program]
    assert run_start(["start"], start()) == 0  # a stop without an order


def test_another_installation_that_is_told_to_restart_starts_itself(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    tmp_path: Path,
) -> None:
    checkout = installed(tmp_path / "checkout", "0.1.0")
    as_release(checkout)

    def run(_: Sequence[str]) -> int:
        switch_to(home, new, first)
        order_restart(home)
        return 0

    with pytest.raises(Replaced):
        run_start(["start"], run)
    assert replaced == [checkout.program]
    assert chosen(home).tries == 0


def test_under_a_service_manager_the_node_exits_to_be_started_again(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setenv(release_run.NOTIFY_SOCKET, "/run/user/1000/systemd/notify")
    assert ends_by_exit()
    as_release(first)

    def run(_: Sequence[str]) -> int:
        monkeypatch.delenv(release_run.NOTIFY_SOCKET)  # the node takes it
        switch_to(home, new, first)
        order_restart(home)
        return 0

    with pytest.raises(SystemExit) as ended:
        run_start(["start"], run)
    assert ended.value.code == RESTART_STATUS
    assert replaced == []


@pytest.mark.parametrize(
    ("label", "words", "status", "found"),
    [
        ("openledger-node-1a2b3c4d", ["start"], 3, 0),
        ("openledger-node-1a2b3c4d", ["--home", "/x", "start", "--quiet"], 2, 0),
        ("openledger-node", ["start"], 4, 0),
        ("openledger-node", ["start"], 1, 1),
        ("openledger-node", ["start"], RESTART_STATUS, RESTART_STATUS),
        ("openledger-node", ["status"], 3, 3),
        ("com.apple.Terminal", ["start"], 3, 3),
        ("", ["start"], 3, 3),
    ],
)
def test_launchd_gives_up_where_only_the_owner_can_help(
    label: str,
    words: list[str],
    status: int,
    found: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(release_run.LAUNCHD_LABEL, label)
    assert release_run.status_for_manager(words, status) == found
    said = capsys.readouterr().err.replace("\n", " ")
    assert (f"before you do, by `launchctl kickstart gui/{os.getuid()}/{label}`" in said) == (found != status)


def test_a_start_that_launchd_should_not_repeat_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[node]\nnonsense = 1\n")
    words = [sys.executable, "-m", "openledger_node", "--home", str(tmp_path), "start"]
    for label, status in (("", 3), ("openledger-node-1a2b3c4d", 0)):
        ran = subprocess.run(
            words, env={**os.environ, release_run.LAUNCHD_LABEL: label}, capture_output=True, text=True, check=False
        )
        assert ran.returncode == status
        assert "unknown key node.nonsense" in ran.stderr


def test_a_release_that_cannot_start_gives_way_at_once(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin_try(home, switch_to(home, new, first), now_s=NOW_S)
    as_release(new)
    with pytest.raises(Replaced):
        run_start(["start"], start(ModelError("the base can't be loaded")))
    assert replaced == [first.program]
    assert chosen(home).current == first
    assert "version 0.2.0 is left, because it could not start: the base can't be loaded" in capsys.readouterr().err


def test_without_a_way_back_the_failure_is_the_starts_own(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    begin_try(home, switch_to(home, new, first), now_s=NOW_S)
    Path(first.program).unlink()
    as_release(new)
    with pytest.raises(ModelError):
        run_start(["start"], start(ModelError("the base can't be loaded")))
    assert chosen(home).current == new


@pytest.mark.parametrize("end", [0, KeyboardInterrupt()])
def test_a_start_that_its_owner_ends_is_no_failure_of_the_release(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    end: int | BaseException,
) -> None:
    begin_try(home, switch_to(home, new, first), now_s=NOW_S)
    as_release(new)
    try:
        run_start(["start"], start(end))
    except KeyboardInterrupt:
        assert end
    assert (chosen(home).current, chosen(home).tries) == (new, 0)


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_trial_ends_when_the_node_is_ready_or_its_time_is_over(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    monkeypatch: pytest.MonkeyPatch,
    is_ready: bool,
) -> None:
    monkeypatch.setattr(release_run, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(Trial, "_ready_within_s", lambda _: 0.02)
    choice = begin_try(home, switch_to(home, new, first), now_s=NOW_S)
    started: list[str] = []

    def again(choice: ReleaseChoice, *, ends: bool) -> None:
        started.append(choice.first.program)

    trial = Trial(home, choice, ends=False, is_ready=lambda _: is_ready, start_again=again)
    trial.start()
    trial.join(10)
    assert trial.was_ready == is_ready
    assert (chosen(home).current, chosen(home).tries) == (new if is_ready else first, None)
    assert started == ([] if is_ready else [first.program])


@pytest.mark.parametrize(
    ("took_s", "setting_s", "within_s"),
    [(None, 120.0, 120.0), (30.0, 120.0, 120.0), (90.0, 120.0, 270.0), (1e9, 120.0, 86_400.0)],
)
def test_a_new_release_gets_three_times_the_start_of_the_running_one_if_that_is_more(
    home: Home, took_s: float | None, setting_s: float, within_s: float
) -> None:
    if took_s is not None:
        note_start_s(home, took_s)
    assert ready_within_s(home, UpdateConfig(ready_within_s=setting_s)) == within_s


def test_a_damaged_time_of_the_last_start_leaves_the_setting(home: Home) -> None:
    note_start_s(home, 1_000.0)
    (file,) = home.cache.iterdir()
    file.write_text("soon")
    assert ready_within_s(home, UpdateConfig()) == UpdateConfig().ready_within_s


def test_a_full_disk_does_not_make_a_good_release_a_bad_one(
    home: Home, first: InstalledRelease, new: InstalledRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_run, "LOOK_EVERY_S", 0.001)
    choice, failed = begin_try(home, switch_to(home, new, first), now_s=NOW_S), threading.Event()
    is_full = True

    def end(home: Home, *, was_ready: bool) -> None:
        if is_full:
            failed.set()
            raise DiskError(errno.ENOSPC, "no space left")
        end_try(home, was_ready=was_ready)

    monkeypatch.setattr(release_run, "end_try", end)
    trial = Trial(home, choice, ends=False, is_ready=lambda _: True)
    trial.start()
    assert failed.wait(10)
    is_full = False
    trial.end()
    assert trial.was_ready
    assert (chosen(home).current, chosen(home).tries) == (new, None)


def test_a_second_start_beside_a_running_node_is_no_try(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    switch_to(home, new, first)
    as_release(first)
    with claim_home(home):
        assert hand(["start"])
        assert chosen(home).tries == 0
        as_release(new)
        with pytest.raises(ConfigError):
            run_start(["start"], start(ConfigError("a daemon already runs")))
    assert chosen(home).current == new


@pytest.mark.parametrize(("socket", "exit_code"), [("/run/user/1000/systemd/notify", RESTART_STATUS), ("", 3)])
def test_a_command_at_work_only_puts_off_a_start_by_the_service_manager(
    home: Home,
    first: InstalledRelease,
    new: InstalledRelease,
    replaced: list[str],
    as_release: AsRelease,
    monkeypatch: pytest.MonkeyPatch,
    socket: str,
    exit_code: int,
) -> None:
    def run(_: Sequence[str]) -> int:
        claim_home(home).close()
        return 0

    if socket:
        monkeypatch.setenv(release_run.NOTIFY_SOCKET, socket)
    switch_to(home, new, first)
    as_release(first)
    with claim_home(home, "rewards withdraw"):
        assert hand(["start"])
        as_release(new)
        with pytest.raises(CommandRunningError) as refused:
            run_start(["start"], run)
    assert refused.value.exit_code == exit_code
    assert (chosen(home).current, chosen(home).tries) == (new, 0)  # it was no try of the release


@pytest.fixture
def own_log() -> Iterator[None]:
    """Let a start keep its log, and take its handlers away afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("openledger_node")
    handlers, level = root.handlers[:], ours.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    ours.setLevel(level)


@pytest.mark.usefixtures("own_log")
def test_a_release_that_a_power_cut_ended_is_told_in_the_log_and_by_an_alert(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    begin_try(home, switch_to(home, new, first), now_s=NOW_S)  # then the power is cut
    as_release(first)
    assert not has_crashed(home)
    assert not hand(["start"])  # this program is the former release
    assert chosen(home).current == first
    assert "rolled_back: version 0.2.0 is left, because it ended before it was ready" in (
        home.logs / "node.log"
    ).read_text(encoding="utf-8")
    assert has_crashed(home)  # which the alert `restarted` tells


def test_a_release_that_gives_way_is_told_by_an_alert(
    home: Home, first: InstalledRelease, new: InstalledRelease, replaced: list[str], as_release: AsRelease
) -> None:
    begin_try(home, switch_to(home, new, first), now_s=NOW_S)
    as_release(new)
    with pytest.raises(Replaced):
        run_start(["start"], start(ModelError("the base can't be loaded")))
    assert has_crashed(home)


def test_the_choice_is_kept_as_json_that_others_can_read(
    home: Home, first: InstalledRelease, new: InstalledRelease
) -> None:
    switch_to(home, new, first)
    kept = json.loads((releases_folder(home) / "current.json").read_text())
    assert kept["schema"] == "openledger.releases/1"
    assert kept["current"] == {"version": "0.2.0", "program": new.program, "ledger": 15}
