"""The home: where it is, and that one daemon at a time has it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes.nodes import node_environment

from openledger_node.errors import ConfigError
from openledger_node.home import (
    DAEMON,
    SOCKET_PATH_BYTES_MAX,
    CommandRunningError,
    Holder,
    Home,
    claim_home,
    find_holder,
    is_claimed,
    note_doing,
    open_home,
)

HOLD = """
import sys
from pathlib import Path
from openledger_node.home import Home, claim_home
lock = claim_home(Home(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_flag_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_HOME", str(tmp_path / "environment"))
    assert open_home().root == tmp_path / "environment"
    assert open_home(tmp_path / "flag").root == tmp_path / "flag"


def test_the_home_is_made_for_its_owner_alone_and_replaces_no_file(tmp_path: Path) -> None:
    home = open_home(tmp_path / "deep" / "home")
    assert home.root.stat().st_mode & 0o777 == 0o700
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match=r"cannot create the data directory .* set OPENLEDGER_HOME"):
        open_home(tmp_path / "home")


def test_a_home_is_claimed_while_its_lock_is_held_and_no_longer(home: Home) -> None:
    assert not is_claimed(home)
    assert not home.lock.exists()  # asking leaves no trace
    with claim_home(home):
        assert is_claimed(home)
    assert not is_claimed(home)


def test_who_asks_at_the_same_time_is_no_holder(home: Home) -> None:
    claim_home(home, "rewards withdraw").close()
    with home.lock.open("a+") as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        assert find_holder(home) is None


@pytest.mark.parametrize(
    ("written", "name", "process"),
    [
        (b"12 daemon\n", DAEMON, 12),
        (b"12 rewards withdraw\n", "rewards withdraw", 12),
        (b"12 rewards wi", DAEMON, None),
        ("١٢ stop\n".encode(), DAEMON, None),
        (b"\xff\xfe\x00\n", DAEMON, None),
    ],
    ids=["daemon", "command", "torn", "other digits", "no text"],
)
def test_the_lock_names_who_holds_a_home(home: Home, written: bytes, name: str, process: int | None) -> None:
    with claim_home(home):
        home.lock.write_bytes(written)
        assert find_holder(home) == Holder(name=name, process=process)
        assert is_claimed(home) == (name == DAEMON)


def test_a_daemon_that_does_not_listen_yet_leaves_a_note_of_what_it_does(home: Home) -> None:
    with claim_home(home) as lock:
        note_doing(lock, "downloading, 5.0 MB of 92.9 MB")
        assert find_holder(home) == Holder(name=DAEMON, process=os.getpid(), doing="downloading, 5.0 MB of 92.9 MB")
        note_doing(lock, "")
        assert find_holder(home) == Holder(name=DAEMON, process=os.getpid())


def test_a_claim_beside_a_verb_says_which_one_to_wait_for(home: Home) -> None:
    with (
        claim_home(home, "rewards withdraw"),
        pytest.raises(
            CommandRunningError, match=rf"^`rewards withdraw` \(process {os.getpid()}\) is at work in this home: wait"
        ) as refused,
    ):
        claim_home(home)
    assert refused.value.exit_code == 75  # a service manager starts the node again


ASK_FOR_EVER = """
import sys
from pathlib import Path
from openledger_node.home import Home, is_claimed
print("asking", flush=True)
while True:
    is_claimed(Home(Path(sys.argv[1])))
"""


@pytest.mark.process
def test_asking_never_keeps_a_daemon_from_starting(home: Home) -> None:
    # Who asks holds the lock for an instant: with a single try, one start in eight would be refused.
    claim_home(home).close()
    command = [sys.executable, "-c", ASK_FOR_EVER, str(home.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "asking\n"
        try:
            for _ in range(200):
                claim_home(home).close()
        finally:
            asker.kill()


@pytest.mark.process
def test_a_second_daemon_ends_with_exit_code_3_and_says_what_to_do(home: Home) -> None:
    command = [sys.executable, "-m", "openledger_node", "start", "--backend", "fake", "--port", "0", "--no-hello"]
    with claim_home(home):
        run = subprocess.run(command, env=node_environment(home), capture_output=True, text=True, check=False)
    assert run.returncode == ConfigError.exit_code == 3
    assert run.stdout == ""
    assert "a daemon already runs on" in run.stderr
    assert "stop it with `openledger-node stop`, or set OPENLEDGER_HOME" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.process
def test_the_lock_goes_with_a_killed_process(home: Home) -> None:
    command = [sys.executable, "-c", HOLD, str(home.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid}"):
            claim_home(home)
        holder.kill()
        holder.wait()
        with claim_home(home):
            assert home.lock.read_text() == f"{os.getpid()} daemon\n"


def test_a_path_of_too_many_bytes_for_the_control_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    room = SOCKET_PATH_BYTES_MAX - len(os.fsencode(Home(tmp_path / "").socket)) - len("/")
    fits, over = Home(tmp_path / ("x" * room)), Home(tmp_path / ("é" * room))
    fits.root.mkdir()
    claim_home(fits).close()
    with pytest.raises(ConfigError, match="too long for a socket: set OPENLEDGER_HOME to a shorter path"):
        claim_home(over)
    assert not over.root.exists()
