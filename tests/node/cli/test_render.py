"""Tables on a narrow screen, and commands in messages that name the data directory they are about."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from node.cli.verbs import Run
from support.processes.nodes import ROOT

from openledger_node.cli import render
from openledger_node.cli.daemon_client import set_home
from openledger_node.cli.render import say, show_changes, show_table, with_home

COLUMNS = ["when", "model", "why", "paid", "receipt"]
ROWS = [
    ["2026-11-28 09:00:57", "smollm2-135m-instruct", "", "0.00025 OPEN", "0xcfc19beb9c…"],
    ["2026-11-28 09:00:32", "港", "", "", ""],
]


def test_a_narrow_table_keeps_all_values(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    show_table(COLUMNS, ROWS, empty="")
    head, *lines = capsys.readouterr().out.splitlines()
    assert (head.split(), len(lines)) == (["when", "model", "paid", "receipt"], len(ROWS))
    show_table(COLUMNS, [], empty="no jobs yet")
    assert capsys.readouterr().out == "no jobs yet\n"
    monkeypatch.setattr(render.out_console, "_width", 60)
    show_table(COLUMNS, ROWS, empty="")
    assert capsys.readouterr().out.splitlines() == [
        "when                 model                  paid",
        "2026-11-28 09:00:57  smollm2-135m-instruct  0.00025 OPEN",
        "  receipt 0xcfc19beb9c…",
        "2026-11-28 09:00:32  港",
    ]


def test_cells_hold_no_markup_and_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(["a", "b"], [["[red]x[/]", "two\nlines"], ["x" * 80, "[bold]y"]], empty="")
    shown = capsys.readouterr().out
    assert "[red]x[/]" in shown
    assert "two\\nlines" in shown
    assert "[bold]y" in shown


def test_a_change_is_shown_with_what_was_before(capsys: pytest.CaptureFixture[str]) -> None:
    show_changes({"in": "1 OPEN", "out": "2 OPEN"}, {"in": "1 OPEN", "out": "3 OPEN"})
    assert capsys.readouterr().out == "out  2 OPEN → 3 OPEN\n"
    show_changes({"in": "1 OPEN"}, {"in": "1 OPEN"})
    assert "nothing changed" in capsys.readouterr().out


# ---- the data directory in commands


@pytest.fixture
def other_home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "my node"
    set_home(folder)
    yield folder
    set_home(None)


def test_printed_commands_carry_the_home_that_was_given(other_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say("no node is running: `openledger-node start`, and then `openledger-node chat`")
    home = f"--home '{other_home}'"
    assert capsys.readouterr().err == (
        f"no node is running: `openledger-node {home} start`, and then `openledger-node {home} chat`\n"
    )


def test_an_error_names_the_home_only_where_it_came_as_an_option(run: Run, tmp_path: Path) -> None:
    assert "`openledger-node start`" in run("chat", "hi").stderr
    assert f"`openledger-node --home {tmp_path}/x start`" in run("--home", f"{tmp_path}/x", "chat", "hi").stderr
    assert with_home("`openledger-node start`") == f"`openledger-node --home {tmp_path}/x start`"
    run("status")
    assert with_home("`openledger-node start`") == "`openledger-node start`"


BARE = re.compile(r"(?<!`)openledger-node [a-z-]+")
IS_NO_HINT = {
    "cli/command_tree.py": "paths of commands",
    "cli/completion.py": "scripts of shells",
    "operator/idle_reasons.py": "commands as data, which `status` puts into backticks",
    "accounting/answer_page.py": "a command in a file for people who have no node here",
    "operator/background/systemd.py": "a description in a unit, which is no command",
    "cli/network_check.py": "the line that is published for others, who have homes of their own",
}


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a module but its docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_every_command_in_a_message_is_in_backticks() -> None:
    """`with_home` finds commands by their backticks."""
    package, bare = ROOT / "node" / "openledger_node", set()
    for file in package.rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        if BARE.search(source) and any(map(BARE.search, texts(ast.parse(source)))):
            bare.add(file.relative_to(package).as_posix())
    assert bare <= IS_NO_HINT.keys() | {"cli/status.py", "api/operator.py"}
