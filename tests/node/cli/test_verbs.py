"""The verbs on a home without a daemon: what machines read on stdout, what people read, and exit codes."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.peft_folders import write_manifest
from support.processes.nodes import node_environment
from support.verbs import Run, read_terminal

from openledger_node import __version__
from openledger_node.api_key import api_key_file, load_api_key
from openledger_node.cli.render import shown
from openledger_node.config import load_config
from openledger_node.home import Home
from openledger_node.ledger.jobs import Job
from openledger_node.ledger.ledger import open_ledger
from openledger_node.models.adapters import MANIFEST_FILE
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.constants import DEMO_BASE_NAME, LOCAL_NETWORK
from openledger_protocol.inference import Completion
from openledger_protocol.primitives import RequestId

ESCAPE, BIDI, C1 = "\x1b[31m", "\u202e", "\x9b31m"
HOSTILE_TEXTS = {
    "an escape code": f"MIT{ESCAPE}owned",
    "a C1 code": f"MIT{C1}owned",
    "a bidi override": f"MIT{BIDI}TIM",
    "a line break": "MIT\rowned\nbase        owned",
    "markup": "MIT [red]owned[/red]",
    "a closing tag": "MIT [/]",
    # A backslash before an escaped bracket makes the markup live again, unless it is doubled.
    "markup behind a backslash": "MIT \\[red]owned",
    "a closing tag behind a backslash": "MIT \\[/bold]",
    "markup behind two backslashes": "MIT \\\\[red]owned",
    "an emoji code": "MIT :warning: owned",
}


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A verb, whose node would listen on a free port."""
    monkeypatch.setenv("OPENLEDGER_API_PORT", "0")
    return run


@pytest.fixture
def fake_base(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "fake")


def run_process(home: Home, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "openledger_node", *words]
    return subprocess.run(
        command, env=node_environment(home, **environment), capture_output=True, text=True, check=False
    )


def test_the_status_of_a_stopped_node_says_why_it_is_idle_and_where_it_is(run: Run, home: Home) -> None:
    ran = run("status", "--json")
    assert (ran.status, ran.stderr) == (0, "")
    assert ran.json == {
        "schema": "openledger.status/1",
        "state": "stopped",
        "chain": None,
        "why_idle": "the daemon is not running: `openledger-node start`",
        "checks": [],
        "suggestion": {"says": "start it", "cli": "openledger-node start"},
        "bids_lost": [],
        "paused": None,
        "limits": None,
        "api": {"url": None, "key_file": str(api_key_file(home)), "listen": []},
        "peer_id": None,
        "address": None,
        "network": LOCAL_NETWORK,
        "base": DEMO_BASE_NAME,
        "adapters": {"registered": 0, "resident": 0},
        "peers": 0,
        "reach": None,
        "version": __version__,
        "home": str(home.root),
    }


def test_status_leaves_an_empty_home_empty(run: Run, home: Home) -> None:
    run("status", "--json")
    run("doctor", "--json")
    run("jobs", "--json")
    assert list(home.root.iterdir()) == []


def test_status_for_people_fits_one_screen(run: Run) -> None:
    lines = run("status").stdout.splitlines()
    assert lines[0].startswith("state     stopped: the daemon is not running")
    assert len(lines) < 24


def test_the_version_is_the_packages(run: Run) -> None:
    assert run("version", "--json").json["version"] == __version__
    assert run("version").stdout == f"{__version__}\n"


def test_config_shows_every_setting_and_where_it_came_from(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.config_file.write_text("[inference]\nthreads = 3\nbatch_max = 4\n")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BATCH_MAX", "5")
    shown = run("config", "show", "--json").json
    assert shown["schema"] == "openledger.config/1"
    assert shown["file"] == str(home.config_file)
    assert shown["settings"]["inference"]["threads"] == 3
    assert shown["settings"]["inference"]["batch_max"] == 5
    assert shown["origins"]["inference.threads"] == "node.toml"
    assert shown["origins"]["inference.batch_max"] == "OPENLEDGER_INFERENCE_BATCH_MAX"
    assert shown["origins"]["inference.base"] == "default"
    assert shown["origins"].keys() == {origin.key for origin in load_config(home.config_file)[1]}


def test_config_for_people_says_the_same(run: Run, home: Home) -> None:
    home.config_file.write_text("[inference]\nthreads = 3\n")
    shown = run("config", "show").stdout
    assert re.search(r"^inference\.threads +3 +node\.toml *$", shown, re.MULTILINE)
    assert re.search(r"^inference\.stall_timeout_s +120 s +default *$", shown, re.MULTILINE)


def test_the_home_flag_wins_over_the_environment(run: Run, tmp_path: Path) -> None:
    assert run("--home", str(tmp_path / "other"), "status", "--json").json["home"] == str(tmp_path / "other")


def test_models_of_an_empty_home_are_none_and_the_served_one_is_named(run: Run) -> None:
    listed = run("models", "list", "--json").json
    assert (listed["schema"], listed["served"], listed["models"]) == ("openledger.models/1", DEMO_BASE_NAME, [])
    assert "`openledger-node models pull`" in run("models", "list").stdout


@pytest.mark.usefixtures("fake_base")
def test_an_adapter_is_added_listed_and_inspected(
    run: Run, home: Home, make_adapter_folder: Callable[..., Path]
) -> None:
    source = make_adapter_folder("harbour")
    added = run("adapters", "add", str(source), "--json")
    assert (added.status, added.stderr) == (0, "")
    adapter = added.json
    assert adapter["schema"] == "openledger.adapter_details/1"
    assert (adapter["name"], adapter["rank_max"]) == ("harbour", 2)
    assert adapter["full_name"] == f"harbour@{adapter['id'][2:10]}"
    assert adapter["manifest"]["base"] == {"name": "fake", "digest": FAKE_BASE.digest}
    del adapter["schema"]
    listed = run("adapters", "list", "--json").json
    unset = dict.fromkeys(("usage", "bond_wei", "bond_free_at", "why_not_sold", "withdrawn", "datanets"))
    entry = {**adapter, "state": "on_disk", "is_pinned": False, **unset}
    assert listed.pop("disk")["adapters_bytes"] == adapter["size_bytes"]
    assert listed == {"schema": "openledger.adapters/1", "adapters": [entry], "refused": {}, "memory": None}
    inspected = run("adapters", "inspect", adapter["full_name"], "--json").json
    assert {**inspected, **adapter} == inspected
    assert (inspected["modules"], inspected["ranks"]) == (["q_proj"], [2])
    assert run("status", "--json").json["adapters"] == {"registered": 1, "resident": 0}


@pytest.mark.usefixtures("fake_base")
def test_an_adapter_for_people_is_told_on_stderr_and_shown_on_stdout(
    run: Run, make_adapter_folder: Callable[..., Path]
) -> None:
    added = run("adapters", "add", str(make_adapter_folder("checkpoint-9")), "--name", "harbour")
    assert added.stdout == ""
    assert re.search(r"harbour@\w{8} is in the library; try it: `openledger-node chat --model harbour`", added.stderr)
    assert re.search(r"harbour@\w{8} +fake +2 +0\.0 MB", run("adapters", "list").stdout)
    shown = run("adapters", "inspect", "harbour").stdout
    assert re.search(r"^changes +q_proj in 1 layers$", shown, re.MULTILINE)
    assert re.search(r"^license +not stated$", shown, re.MULTILINE)


def test_an_empty_home_has_answered_nothing(run: Run) -> None:
    assert run("jobs", "--json").json == {"schema": "openledger.jobs/1", "jobs": []}
    assert run("jobs").stdout == "no request has been answered yet\n"
    assert run("jobs", "--model", "harbour").stdout == "no request matches\n"


def test_jobs_are_read_from_the_ledger_when_no_daemon_runs(run: Run, home: Home) -> None:
    received_ns = 1_735_689_600_000_000_000  # 2025-01-01
    with closing(open_ledger(home.ledger(LOCAL_NETWORK))) as ledger:
        for number in (0, 1):
            request_id = RequestId(f"0x{number:064x}")
            ledger.jobs.start(
                Job(
                    request_id=request_id,
                    received_ns=received_ns + number,
                    base="fake",
                    adapter_id=None,
                    adapter_name=None,
                    state="running",
                    tokens_in=5,
                )
            )
        done = Completion(
            request_id=RequestId(f"0x{0:064x}"),
            base="fake",
            adapter_id=None,
            text="",
            ids=(),
            finish_reason="stop",
            tokens_in=5,
            tokens_out=7,
        )
        ledger.jobs.complete(done, first_token_ns=received_ns + 1_500_000, ended_ns=received_ns + 2_000_000)
    newest, oldest = run("jobs", "--json").json["jobs"]
    assert (newest["state"], newest["ttft_ms"], newest["duration_ms"]) == ("running", None, None)
    assert oldest == {
        "request_id": f"0x{0:064x}",
        "received": "2025-01-01T00:00:00Z",
        "base": "fake",
        "adapter": None,
        "adapter_id": None,
        "state": "completed",
        "finish_reason": "stop",
        "error_code": None,
        "tokens_in": 5,
        "tokens_out": 7,
        "ttft_ms": 1.5,
        "duration_ms": 2.0,
        "amount_wei": None,
        "receipt": None,
        "payer": None,
    }
    assert len(run("jobs", "--json", "--limit", "1").json["jobs"]) == 1


def test_doctor_on_a_fresh_machine_finds_what_the_first_start_will_fetch(run: Run) -> None:
    (base,) = (check for check in run("doctor", "--json").json["checks"] if check["check"] == "base")
    assert (base["is_ok"], base["found"]) == (True, "the demo base, which the first start downloads")


def test_doctor_finds_a_missing_base_and_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "mine")
    ran = run("doctor", "--json")
    checks = {check["check"]: check for check in ran.json["checks"]}
    fix = "base 'mine' is not on this machine: run `openledger-node models pull mine`"
    assert ran.status == 8
    assert ran.json["problems"] == sum(check["is_ok"] is False for check in checks.values()) > 0
    assert (checks["base"]["is_ok"], checks["base"]["fix"]) == (False, fix)
    assert checks["python"]["is_ok"]
    assert "→ " + fix in run("doctor").stdout


@pytest.mark.usefixtures("fake_base")
def test_doctor_finds_nothing_wrong_on_a_sound_home(run: Run, home: Home) -> None:
    load_api_key(home)
    open_ledger(home.ledger(LOCAL_NETWORK)).close()
    ran = run("doctor", "--json")
    of_the_machine = ("disk", "load")  # nearly full, or busy with other tests: neither is the home's fault
    checks = [check for check in ran.json["checks"] if check["check"] not in of_the_machine]
    assert [check for check in checks if check["is_ok"] is False] == []


@pytest.mark.usefixtures("fake_base")
@pytest.mark.parametrize(
    ("spoil", "check", "fix"),
    [
        (lambda home: home.config_file.write_text("[inferense]\n"), "settings", "did you mean inference"),
        (lambda home: (load_api_key(home), api_key_file(home).chmod(0o644)), "api key", "chmod 600"),
        (lambda home: spoil_ledger(home), "ledger", "is damaged"),
        (lambda home: set_schema(home, 7), "ledger", "(schema 7, this one reads 1). Move "),
        (lambda home: spoil_adapter(home), "adapters", "bad@12345678"),
    ],
    ids=["settings", "key", "ledger", "another version", "adapter"],
)
def test_doctor_finds_what_is_spoilt_and_says_what_to_do(
    run: Run, home: Home, spoil: Callable[[Home], Any], check: str, fix: str
) -> None:
    spoil(home)
    ran = run("doctor", "--json")
    checks = {found["check"]: found for found in ran.json["checks"]}
    assert ran.status == 8
    assert fix in checks[check]["fix"]


def spoil_ledger(home: Home) -> None:
    file = home.ledger(LOCAL_NETWORK)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 100)


def set_schema(home: Home, schema: int) -> None:
    """Make the ledger one that another version wrote."""
    open_ledger(home.ledger(LOCAL_NETWORK)).close()
    with closing(sqlite3.connect(home.ledger(LOCAL_NETWORK))) as connection:
        connection.execute(f"PRAGMA user_version = {schema}")


def spoil_adapter(home: Home) -> None:
    folder = home.adapters / "bad@12345678"
    folder.mkdir(parents=True)
    (folder / MANIFEST_FILE).write_text("{")


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-verb"],
        ["status", "--no-such-flag"],
        ["status", "extra"],
        ["jobs", "--limit", "0"],
        ["jobs", "--limit", "many"],
        ["adapters", "add"],
        ["adapters", "add", "/no/such/folder"],
        ["adapters", "no-such-verb"],
    ],
    ids=" ".join,
)
def test_a_usage_error_ends_with_2_and_says_nothing_on_stdout(run: Run, words: list[str]) -> None:
    # Newer typers carry a click of their own, whose errors are not those of the package click.
    ran = run(*words)
    assert ran.status == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error ")
    assert ran.stderr.endswith("--help`\n")


@pytest.mark.parametrize("words", [["status"], ["config", "show"], ["models", "list"], ["start"]], ids=" ".join)
def test_a_wrong_setting_ends_with_3_and_one_line_that_names_the_nearest(
    run: Run, home: Home, words: list[str]
) -> None:
    home.config_file.write_text("[inference]\nbse = 'fake'\n")
    ran = run(*words, *([] if words == ["start"] else ["--json"]))
    assert ran.status == 3
    assert ran.stdout == ""
    assert ran.stderr == (
        f"error {home.config_file} has an unknown key inference.bse: did you mean inference.base?\n"
    )


@pytest.mark.parametrize("words", [["adapters", "inspect", "lighthouse"]], ids=" ".join)
def test_an_unknown_adapter_ends_with_1_and_the_verb_that_lists_them(run: Run, words: list[str]) -> None:
    ran = run(*words, "--json")
    assert ran.status == 1
    assert ran.stdout == ""
    assert ran.stderr == "error no adapter 'lighthouse' here: `openledger-node adapters list` shows those there are\n"


@pytest.mark.usefixtures("fake_base")
def test_a_folder_that_is_no_adapter_ends_with_7(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("adapters", "add", str(tmp_path / "empty"), "--json")
    assert (ran.status, ran.stdout) == (7, "")
    assert "is not a PEFT adapter" in ran.stderr


def test_adding_without_a_base_ends_with_7_and_the_verb_that_brings_it(
    run: Run, make_adapter_folder: Callable[..., Path]
) -> None:
    ran = run("adapters", "add", str(make_adapter_folder()), "--json")
    assert (ran.status, ran.stdout) == (7, "")
    assert "openledger-node models pull" in ran.stderr


def test_chat_and_stop_without_a_daemon_say_so(run: Run) -> None:
    asked = run("chat", "Hello?", "--json")
    assert (asked.status, asked.stdout) == (1, "")
    assert "start one with `openledger-node start`" in asked.stderr
    stopped = run("stop")
    assert (stopped.status, stopped.stderr) == (0, "no node is running here\n")


def test_one_bad_folder_on_the_shelf_breaks_no_other_verb(run: Run, home: Home) -> None:
    spoil_adapter(home)
    assert run("status", "--json").status == 0
    assert run("adapters", "list", "--json").json["adapters"] == []


def hostile_adapter(make_adapter_folder: Callable[..., Path], text: str) -> Path:
    return write_manifest(make_adapter_folder(), license=text, evaluation={text: 1})


def spelled_out(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@pytest.mark.usefixtures("fake_base")
@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
def test_a_strangers_text_is_shown_and_does_nothing(
    run: Run, make_adapter_folder: Callable[..., Path], text: str
) -> None:
    run("adapters", "add", str(hostile_adapter(make_adapter_folder, text)))
    ran = run("adapters", "inspect", "harbour")
    assert ran.status == 0
    assert all(character.isprintable() for character in ran.stdout.replace("\n", ""))
    lines = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines())
    assert lines["license"] == spelled_out(text)
    assert lines["evaluation"] == f"{spelled_out(text)} 1"


@pytest.mark.usefixtures("fake_base")
@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
def test_a_strangers_text_reaches_machines_as_it_is(
    run: Run, make_adapter_folder: Callable[..., Path], text: str
) -> None:
    run("adapters", "add", str(hostile_adapter(make_adapter_folder, text)))
    ran = run("adapters", "inspect", "harbour", "--json")
    assert ran.json["manifest"]["license"] == text
    assert ESCAPE not in ran.stdout


@pytest.mark.parametrize("text", [f"x{ESCAPE}", f"x{BIDI}", "[red]x[/red]"], ids=["escape", "bidi", "markup"])
def test_a_hostile_name_in_an_error_is_shown_and_does_nothing(run: Run, text: str) -> None:
    ran = run("adapters", "inspect", text)
    assert ran.status == 1
    assert ESCAPE not in ran.stderr
    assert BIDI not in ran.stderr
    assert "x" in ran.stderr
    assert ("[red]" in text) == ("[red]" in ran.stderr)


@pytest.mark.parametrize(
    "text",
    ["a\tb\n\tc", "👩‍👩‍👧", "voilà !", "می‌خواهم", "日本　語", "❤️", "re­pair"],
    ids=["tabs", "joined emoji", "French", "Persian", "Japanese", "emoji style", "soft hyphen"],
)
def test_an_answer_in_any_script_is_printed_as_it_is(text: str) -> None:
    # str.isprintable() would not do: it is false for tabs, joiners and every blank but one. What can do harm: Cc but
    # \t and \n, the bidi controls, U+2028/9 and surrogates.
    assert shown(text) == text


@pytest.mark.parametrize(
    "text", [ESCAPE, C1, BIDI, "\r", "\b", "\x07", "\x7f", "⁦", "⁩", "‏", "؜", " ", "\ud800"], ids=ascii
)
def test_what_moves_the_cursor_or_turns_the_text_is_spelled_out_in_an_answer(text: str) -> None:
    assert shown(f"a{text}b") == f"a{text[0].encode('unicode_escape', 'surrogatepass').decode()}{text[1:]}b"


# ── as a process of its own ───────────────────────────────────────────────────────────────────────────────────────


def test_stdout_of_the_installed_command_is_one_object_also_where_colours_are_forced(home: Home) -> None:
    # Many CI systems set FORCE_COLOR.
    ran = run_process(home, "status", "--json", FORCE_COLOR="1")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["schema"] == "openledger.status/1"


COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)[0-9;]*m")


@pytest.mark.parametrize(("setting", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_is_coloured_unless_it_asks_not_to_be(
    home: Home, setting: dict[str, str], is_coloured: bool
) -> None:
    screen = on_terminal(home, "doctor", **{"OPENLEDGER_INFERENCE_BASE": "mine", "TERM": "xterm-256color", **setting})
    assert "FAIL" in screen
    assert bool(COLOUR.search(screen)) == is_coloured


def on_terminal(home: Home, *words: str, **environment: str) -> str:
    """Run a verb on a terminal of its own and return what that was sent."""
    ours, theirs = pty.openpty()
    ambient = {name: value for name, value in node_environment(home, **environment).items() if name != "FORCE_COLOR"}
    if "NO_COLOR" not in environment:
        ambient.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "openledger_node", *words]
    with subprocess.Popen(command, env=ambient, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        sent = b""
        while piece := read_terminal(ours):
            sent += piece
    os.close(ours)
    return sent.decode()


def test_a_node_on_no_network_of_others_has_an_empty_list_of_peers(run: Run) -> None:
    ran = run("peers", "list", "--json")
    assert (ran.status, ran.json["peers"], ran.json["peer_id"]) == (0, [], None)
    assert "`openledger-node network join FILE` joins one" in run("peers", "list").stderr
