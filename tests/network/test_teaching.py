"""Who taught an answer, and where its money went, in a terminal."""

import subprocess
from collections.abc import Iterator

import pytest
from support.commands import run_command
from support.processes.nodes import Node, node_environment
from support.processes.taught import ANSWER, NAME, UNBONDED, buy_as_guest, taught_node

from openledger_node.home import Home

pytestmark = pytest.mark.process

USAGE_ERROR = 2
PEOPLE = ("marisol-k", "nadia-roofs", "oke-solar", "tjark.pv")
STEPS = ("deposit", "voucher", "receipt", "claim", "payout list", "draw", "withdrawal")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with taught_node(Home(tmp_path_factory.mktemp("taught"))) as opened:
        yield opened


def run(node: Node, *words: str) -> "subprocess.CompletedProcess[str]":
    return run_command(*words, env=node_environment(node.home, COLUMNS="200", **UNBONDED))


def test_a_receipt_names_people_their_shares_and_the_words_of_their_rows(node: Node) -> None:
    digest = buy_as_guest(node.home, ANSWER)["digest"]
    shown = run(node, "attribution", "show", digest[:14])
    assert shown.returncode == 0, shown.stderr
    for name in PEOPLE:
        assert name in shown.stdout
    assert "of its tokens match rows word for word" in shown.stdout
    assert "“Start with the string that faces east: it wakes first and trips first”" in shown.stdout
    assert "\u202e" not in shown.stdout


def test_a_receipts_money_is_followed_in_seven_lines(node: Node) -> None:
    digest = buy_as_guest(node.home, ANSWER)["digest"]
    followed = run(node, "attribution", "show", digest[:14], "--follow")
    assert followed.returncode == 0, followed.stderr
    places = [followed.stdout.index(f" {step} ") for step in STEPS]
    assert places == sorted(places)
    assert "Datanet contributors  18.0000 %" in followed.stdout


def test_what_was_sent_is_listed_and_both_answers_stand_one_below_the_other(node: Node) -> None:
    assert "register an adapter under a bond of 10 OPEN" in run(node, "wallet", "history").stdout
    both = run(node, "chat", "hello", "--base-too", NAME, "--max-tokens", "10")
    assert both.returncode == 0, both.stderr
    assert both.stdout.index("fake alone (") < both.stdout.index(f"{NAME} (")


@pytest.mark.parametrize(
    "words", [("attribution", "show", "--follow"), ("chat", "hi", "--base-too", NAME, "--model", "fake")]
)
def test_what_goes_with_nothing_else_is_refused(node: Node, words: tuple[str, ...]) -> None:
    assert run(node, *words).returncode == USAGE_ERROR
