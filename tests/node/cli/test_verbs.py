"""The verbs on a home without a daemon: what machines read on stdout, what people read, and exit codes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from node.cli.verbs import Run, type_on_terminal
from support.answered import completion
from support.peft_folders import write_manifest
from support.processes.nodes import node_environment
from support.rows import job_of

from openledger_node import __version__
from openledger_node.api_key import api_key_file
from openledger_node.cli.render import shown
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.constants import DEMO_BASE_NAME, LOCAL_NETWORK
from openledger_protocol.primitives import RequestId

ESCAPE, BIDI, C1 = "\x1b[31m", "\u202e", "\x9b31m"
HOSTILE_TEXTS = {
    "an escape code": f"MIT{ESCAPE}owned",
    "a bidi override": f"MIT{BIDI}TIM",
    "a line break": "MIT\rowned\nbase        owned",
    "markup": "MIT [red]owned[/red] [/]",
    # A backslash before an escaped bracket makes the markup live again, unless it is doubled.
    "markup behind a backslash": "MIT \\[red]owned",
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


def test_the_status_of_a_stopped_node_says_why_it_is_idle_and_where_it_is(run: Run, home: Home) -> None:
    ran = run("status", "--json")
    assert (ran.status, ran.stderr) == (0, "")
    found = ran.json
    assert (found["schema"], found["state"], found["version"]) == ("openledger.status/1", "stopped", __version__)
    assert found["why_idle"] == "the daemon is not running: `openledger-node start`"
    assert found["suggestion"] == {"says": "start it", "cli": "openledger-node start"}
    assert (found["network"], found["base"], found["home"]) == (LOCAL_NETWORK, DEMO_BASE_NAME, str(home.root))
    assert found["api"] == {"url": None, "key_file": str(api_key_file(home)), "listen": []}


def test_jobs_are_read_from_the_ledger_when_no_daemon_runs(run: Run, home: Home) -> None:
    received_ns = 1_735_689_600_000_000_000  # 2025-01-01
    with closing(open_ledger(home.ledger(LOCAL_NETWORK))) as ledger:
        for number in (0, 1):
            request_id = RequestId(f"0x{number:064x}")
            ledger.jobs.start(job_of(request_id, received_ns=received_ns + number, tokens_in=5))
        done = completion(request_id=RequestId(f"0x{0:064x}"), tokens_in=5, tokens_out=7)
        ledger.jobs.complete(done, first_token_ns=received_ns + 1_500_000, ended_ns=received_ns + 2_000_000)
    newest, oldest = run("jobs", "--json").json["jobs"]
    assert (newest["state"], newest["ttft_ms"], newest["duration_ms"]) == ("running", None, None)
    assert oldest["received"] == "2025-01-01T00:00:00Z"
    assert (oldest["state"], oldest["finish_reason"]) == ("completed", "stop")
    assert (oldest["tokens_in"], oldest["tokens_out"], oldest["ttft_ms"], oldest["duration_ms"]) == (5, 7, 1.5, 2.0)
    assert len(run("jobs", "--json", "--limit", "1").json["jobs"]) == 1


@pytest.mark.parametrize("words", [["status"], ["models", "list"], ["start"]], ids=" ".join)
def test_a_wrong_setting_ends_with_3_and_names_the_nearest(run: Run, home: Home, words: list[str]) -> None:
    home.config_file.write_text("[inference]\nbse = 'fake'\n")
    ran = run(*words, *([] if words == ["start"] else ["--json"]))
    assert ran.status == 3
    assert ran.stdout == ""
    assert ran.stderr == (
        f"error {home.config_file} has an unknown key inference.bse: did you mean inference.base?\n"
    )


def test_chat_and_stop_without_a_daemon_say_so(run: Run) -> None:
    asked = run("chat", "Hello?", "--json")
    assert (asked.status, asked.stdout) == (1, "")
    assert "start one with `openledger-node start`" in asked.stderr
    stopped = run("stop")
    assert (stopped.status, stopped.stderr) == (0, "no node is running here\n")


def spelled_out(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def test_an_answer_in_any_script_is_printed_and_what_moves_the_cursor_or_turns_the_text_is_spelled_out() -> None:
    # str.isprintable() would not do: it is false for tabs, joiners and every blank but one. What can do harm: Cc but
    # \t and \n, the bidi controls, U+2028/9 and surrogates.
    for harmless in ("a\tb\n\tc", "👩\u200d👧", "voilà\u202f!", "می\u200cخواهم", "日本\u3000語", "❤️", "re\u00adpair"):
        assert shown(harmless) == harmless
    harmful = [ESCAPE, C1, BIDI, "\r", "\b", "\x07", "\x7f", "\u2066", "\u200f", "\u061c", "\u2028", "\ud800"]
    for text in harmful:
        assert shown(f"a{text}b") == f"a{text[0].encode('unicode_escape', 'surrogatepass').decode()}{text[1:]}b"


# ── as a process of its own ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.process
def test_a_terminal_is_coloured_unless_it_asks_not_to_be(home: Home) -> None:
    for no_color, is_coloured in (("", True), ("1", False)):
        wanted = {"OPENLEDGER_INFERENCE_BASE": "mine", "TERM": "xterm-256color", "NO_COLOR": no_color}
        screen = type_on_terminal(home, "doctor", answers=[], **wanted).stdout
        assert "FAIL" in screen
        assert bool(re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)[0-9;]*m", screen)) == is_coloured


def test_an_empty_home_shows_empty_lists_and_stays_empty(run: Run, home: Home) -> None:
    assert run("jobs", "--json").json == {"schema": "openledger.jobs/1", "jobs": []}
    assert run("jobs").stdout == "no request has been answered yet\n"
    assert run("jobs", "--model", "harbour").stdout == "no request matches\n"
    listed = run("models", "list", "--json").json
    assert (listed["schema"], listed["served"], listed["models"]) == ("openledger.models/1", DEMO_BASE_NAME, [])
    peers = run("peers", "list", "--json")
    assert (peers.status, peers.json["peers"], peers.json["peer_id"]) == (0, [], None)
    assert "`openledger-node network join FILE` joins one" in run("peers", "list").stderr
    run("status", "--json")
    run("doctor", "--json")
    assert list(home.root.iterdir()) == []


@pytest.mark.usefixtures("fake_base")
def test_an_adapter_is_added_and_inspected(run: Run, home: Home, make_adapter_folder: Callable[..., Path]) -> None:
    adapter = run("adapters", "add", str(make_adapter_folder("harbour")), "--json").json
    assert adapter.pop("schema") == "openledger.adapter_details/1"
    assert (adapter["full_name"], adapter["rank_max"]) == (f"harbour@{adapter['id'][2:10]}", 2)
    assert adapter["manifest"]["base"] == {"name": "fake", "digest": FAKE_BASE.digest}
    (entry,) = run("adapters", "list", "--json").json["adapters"]
    assert {**entry, **adapter} == entry
    inspected = run("adapters", "inspect", adapter["full_name"], "--json").json
    assert {**inspected, **adapter} == inspected
    assert run("status", "--json").json["adapters"] == {"registered": 1, "resident": 0}
    checkpoint = str(make_adapter_folder("checkpoint-9"))
    taken = run("adapters", "add", checkpoint, "--name", "fake")
    assert "fake is the name of the base: give the adapter another one" in taken.stderr
    named = run("adapters", "add", checkpoint, "--name", "ferry")
    assert named.stdout == ""
    assert re.search(r"ferry@\w{8} is in the library; try it: `openledger-node chat --model ferry`", named.stderr)


@pytest.mark.parametrize(
    ("base", "words", "status", "says"),
    [
        ("fake", ("inspect", "lighthouse"), 1, "no adapter 'lighthouse' here: `openledger-node adapters list` shows"),
        ("fake", ("inspect", f"[red]x[/red]{ESCAPE}{BIDI}"), 1, "[red]x[/red]\\x1b[31m\\u202e"),
        ("fake", ("add", "EMPTY"), 7, "is not a PEFT adapter"),
        ("absent", ("add", "ADAPTER"), 7, "openledger-node models pull"),
    ],
)
def test_an_adapter_that_there_is_not_or_can_not_be_added_is_refused_and_its_name_does_nothing(
    run: Run,
    tmp_path: Path,
    make_adapter_folder: Any,
    monkeypatch: Any,
    base: str,
    words: Any,
    status: int,
    says: str,
) -> None:
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", base)
    (tmp_path / "empty").mkdir()
    verb, name = words
    name = {"EMPTY": str(tmp_path / "empty"), "ADAPTER": str(make_adapter_folder())}.get(name, name)
    ran = run("adapters", verb, name, "--json")
    assert (ran.status, ran.stdout, says in ran.stderr) == (status, "", True), ran.stderr


@pytest.mark.usefixtures("fake_base")
@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
def test_a_strangers_text_is_shown_as_text(run: Run, make_adapter_folder: Callable[..., Path], text: str) -> None:
    run("adapters", "add", str(write_manifest(make_adapter_folder(), license=text, evaluation={text: 1})))
    ran = run("adapters", "inspect", "harbour")
    assert all(character.isprintable() for character in ran.stdout.replace("\n", ""))
    lines = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines())
    assert (lines["license"], lines["evaluation"]) == (spelled_out(text), f"{spelled_out(text)} 1")
    as_json = run("adapters", "inspect", "harbour", "--json")
    assert as_json.json["manifest"]["license"] == text
    assert ESCAPE not in as_json.stdout


@pytest.mark.process
def test_stdout_of_the_installed_command_is_one_object_also_where_colours_are_forced(home: Home) -> None:
    # Many CI systems set FORCE_COLOR.
    command = [sys.executable, "-m", "openledger_node", "status", "--json"]
    ran = subprocess.run(command, env=node_environment(home, FORCE_COLOR="1"), capture_output=True, check=True)
    assert (json.loads(ran.stdout)["schema"], ran.stderr) == ("openledger.status/1", b"")
