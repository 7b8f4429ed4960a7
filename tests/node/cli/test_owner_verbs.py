"""Setup, prices, limits and pauses on a home without a daemon, and verbs that need only what they load."""

import time
import tomllib
from datetime import datetime
from typing import Any

import pytest
from node.cli.verbs import Run, type_on_terminal
from support.reaches import REACHES

from openledger_node.cli.app import build_app
from openledger_node.cli.commands import COMMAND_MODULES, first_word
from openledger_node.cli.status import status_lines
from openledger_node.cli.units import seconds_until
from openledger_node.home import Home
from openledger_node.operator.kept_pause import kept_pause
from openledger_node.operator.reach_words import reach_to_plain


def settings(home: Home) -> dict[str, Any]:
    return tomllib.loads(home.config_file.read_text()) if home.config_file.exists() else {}


def test_setup_without_questions_takes_flags_and_leaves_the_rest(run: Run, home: Home) -> None:
    home.config_file.write_text("# mine\n[inference]\nbatch_max = 4  # small\n")
    ran = run("setup", "--no-input", "--base", "fake", "--price", "0.01", "--vram", "20GB", "--json")
    assert (ran.status, ran.json["is_restart_due"]) == (0, False)
    assert settings(home) == {
        "inference": {"batch_max": 4, "base": "fake"},
        "market": {"price_in_wei": 2 * 10**15, "price_out_wei": 8 * 10**15},
        "limits": {"vram_bytes": 20 * 10**9},
    }
    assert home.config_file.read_text().startswith("# mine\n[inference]\nbatch_max = 4  # small\n")
    prices = ["market.price_in_wei", "market.price_out_wei"]
    assert ran.json["changed"] == ["inference.base", "limits.vram_bytes", *prices]


def test_a_node_can_be_set_up_to_ask_only_and_to_serve_again(run: Run, home: Home) -> None:
    run("setup", "--no-input", "--price", "none", "--day-max", "3")
    assert settings(home) == {"node": {"serve": False}, "payer": {"day_max_wei": 3 * 10**18}}
    assert run("limits", "show", "--json").json["serve"] is False
    run("setup", "--no-input", "--serve")
    assert settings(home)["node"] == {"serve": True}


@pytest.mark.process
def test_setup_asks_again_only_what_it_can_not_take(home: Home) -> None:
    home.config_file.write_text("[inference]\nbase = 'fake'\n")
    answers = [
        ("1 of 3  base [fake]", "smolm"),
        ("1 of 3  base [fake]", "acme/tiny"),
        ("2 of 3  network [local]", "developmnt"),
        ("2 of 3  network [local]", "development"),
        ("3 of 3  price [0.005]", "0,01"),
        ("3 of 3  price [0.005]", "9" * 30),
        ("3 of 3  price [0.005]", "0.01"),
    ]
    ran = type_on_terminal(home, "setup", "--no-pull", answers=answers)
    assert ran.status == 0, ran.stdout
    for refused in (
        "no base is called 'smolm' here: give smollm2-135m-instruct, OWNER/NAME",
        "'developmnt' is not a network: give development, local, or the FILE or URL",
        "'0,01' is not an amount: give a number such as 12 or 0.5, or none to serve nothing",
        "is more than a contract can count: give a smaller amount, or none to serve nothing",
    ):
        assert ran.stdout.count(refused) == 1, refused
    assert settings(home)["market"] == {"price_in_wei": 2 * 10**15, "price_out_wei": 8 * 10**15}
    assert settings(home)["inference"] == {"base": "acme--tiny"}


def test_setup_refuses_a_flag_with_what_is_right_and_changes_nothing(run: Run, home: Home) -> None:
    home.config_file.write_text("# mine\n")
    for flag, value, says in (
        ("--base", "smolm", "no base is called 'smolm' here"),
        ("--network", "developmnt", "give development, local, or the FILE or URL"),
    ):
        ran = run("setup", "--no-input", "--no-pull", flag, value)
        assert (ran.status in (2, 3), says in " ".join(ran.stderr.split())) == (True, True), ran.stderr
    assert home.config_file.read_text() == "# mine\n"


def test_the_status_names_the_state_of_reachability_and_the_remedy(run: Run) -> None:
    fields = run("status", "--json").json
    remedy = REACHES["relayed"].remedy
    for state, line in (("mapped", "at /ip4/11.0.0.7/tcp/4120"), ("relayed", f"over 2 relays. {remedy}")):
        lines = status_lines({**fields, "reach": reach_to_plain(REACHES[state])})
        assert lines["reached"] == f"{state}, {line}"
    assert "reached" not in status_lines({**fields, "reach": None})


def test_prices_and_limits_are_set_and_shown_without_a_daemon(run: Run, home: Home) -> None:
    run("price", "set", "0.02")
    assert run("price", "show", "--json").json["price_wei"] == str(2 * 10**16)
    run("limits", "set", "--hours", "22:00-07:00", "--pause-when-busy", "--disk", "1.5TB")
    shown = run("limits", "show", "--json").json
    assert (shown["hours"], shown["pause_when_busy"], shown["disk_bytes"]) == ("22:00-07:00", True, 15 * 10**11)
    run("limits", "set", "--hours", "", "--no-pause-when-busy", "--disk", "0")
    shown = run("limits", "show", "--json").json
    assert (shown["hours"], shown["pause_when_busy"], shown["disk_bytes"]) == ("", False, 0)
    assert "no limit" in run("limits", "show").stdout
    assert "engine      0 B in use (GPU memory; RAM without a GPU)" in run("limits", "show").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["price", "set", "0.02"], ""),
        (["price", "set", "5"], "that is 1,000 times 0.005 OPEN"),
        (["price", "set", "0.0000000000000000001"], "is finer than one wei"),
        (["limits", "set", "--ram", "10"], "10 B is less than the smallest base needs: did you mean 10GB?"),
        (["limits", "set", "--disk", "3MB"], "give more, or 0 for no limit"),
    ],
)
def test_what_looks_mistyped_is_said(run: Run, words: list[str], says: str) -> None:
    said = run(*words).stderr.replace("│", " ")
    assert says in " ".join(said.split())


def test_a_pause_waits_for_the_next_start_ends_by_itself_or_is_taken_back(run: Run, home: Home) -> None:
    began_s = time.time()
    assert "then it resumes by itself" in run("pause", "--for", "90s").stderr
    kept = kept_pause(home)
    assert kept is not None
    assert kept.until_s is not None
    assert 89 < kept.until_s - began_s < 120
    paused = run("pause", "--until", "18:00", "--json").json
    assert (paused["state"], paused["paused"]["by"]) == ("stopped", "owner")
    assert datetime.fromisoformat(paused["paused"]["until"]).astimezone().strftime("%H:%M") == "18:00"
    assert "`openledger-node start` starts it paused" in run("status").stdout
    assert run("status", "--json").json["paused"] == paused["paused"]
    resumed = {"schema": "openledger.pause/1", "state": "stopped", "paused": None, "not_kept": None}
    assert run("resume", "--json").json == resumed
    assert run("status", "--json").json["paused"] is None
    for order in ("0s", "9999999d"):
        ran = run("pause", "--for", order)
        assert (ran.status, "not between a second and ten years" in ran.stderr) == (2, True)
    assert not home.paused.exists()


def test_every_verb_is_in_the_module_that_its_first_word_loads() -> None:
    for part in COMMAND_MODULES:
        for word in part.words:
            made = build_app([word])
            names = {group.name for group in made.registered_groups} | {
                command.name or command.callback.__name__.rstrip("_").replace("_", "-")  # type: ignore[union-attr]
                for command in made.registered_commands
            }
            assert word in names, word
    lines = ("--home /tmp/x status --json", "--home=/tmp/x status", "--help", "")
    assert [first_word(line.split()) for line in lines] == ["status", "status", "--help", None]


def test_setup_on_a_fresh_home_writes_no_default(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    asked = run("setup")
    assert (asked.status, "--yes" in asked.stderr) == (3, True), "nobody is there to be asked"
    ran = run("setup", "--yes")
    assert ran.status == 0
    assert "serves this machine on a test chain of its own, whose money is worth nothing" in ran.stderr
    assert "all at their defaults, so no file was written" in ran.stderr
    assert not home.config_file.exists()


def test_what_has_no_effect_is_said(run: Run, home: Home) -> None:
    home.config_file.write_text("[inference]\ndevice = 'cpu'\n")
    assert "--vram has no effect; --ram limits the main memory" in run("limits", "set", "--vram", "20GB").stderr
    assert "no effect" not in run("limits", "set", "--ram", "20GB").stderr
    ran = run("setup", "--no-input", "--base", "fake", "--network", "local", "--price", "0.01")
    assert "serves this machine alone, without money, so the price has no effect" in ran.stderr


def test_an_hour_that_is_over_is_tomorrows_and_knows_that_the_clocks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for now, hours in (("17:00", 1), ("18:00", 24), ("19:00", 23)):
        assert seconds_until("18:00", datetime.fromisoformat(f"2026-01-31T{now}:00")) == hours * 3_600
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert seconds_until("07:00", datetime(2026, 10, 24, 23)) == 9 * 3_600
        assert seconds_until("07:00", datetime(2026, 3, 28, 23)) == 7 * 3_600
    finally:
        monkeypatch.undo()
        time.tzset()


WEEK = {"jobs": 1_201, "ended": 1_200, "answered": 1_199, "failed": 0, "interrupted": 1, "answered_percent": 99.9}
WEEK |= {"tokens_out": 45_000, "adapter_tokens_out": 30_000, "adapter_percent": 66.6}


@pytest.mark.parametrize(
    ("told", "line", "says"),
    [
        (
            {"usage": {"day": {**WEEK, "jobs": 0}, "week": WEEK}},
            "7 days",
            "1,201 jobs, 99.9 % answered, 1 interrupted, 45,000 tokens, 66.6 % of them with an adapter",
        ),
        ({"waiting": {"money": 0, "governance": 1}}, "votes", "1 proposal you can vote on: see `gov list`"),
        ({"money": {"why_not_claimed": None, "alerts": ["one thing", "another"]}}, "alert 2", "another"),
        (
            {"money": {"audits": {"right": 1_200, "wrong": 1, "unknown": 0}}},
            "audits",
            "shares of bought receipts: 1,200 right, 1 WRONG",
        ),
    ],
)
def test_status_has_no_line_without_news(run: Run, told: dict[str, Any], line: str, says: str) -> None:
    fields = run("status", "--json").json
    assert line not in status_lines(fields)
    lines = status_lines({**fields, **told})
    assert lines[line].startswith(says)
    assert "24 h" not in lines
