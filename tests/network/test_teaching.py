"""Who taught an answer, and where its money went, in a terminal."""

from pathlib import Path

import pytest
from support.commands import run_command
from support.processes.nodes import node_environment
from support.processes.taught import ANSWER, NAME, UNBONDED, buy_as_guest, taught_node

from openledger_node.home import Home

pytestmark = pytest.mark.process

PEOPLE = ("marisol-k", "nadia-roofs", "oke-solar", "tjark.pv")
STEPS = ("deposit", "voucher", "receipt", "claim", "payout list", "draw", "withdrawal")


def test_a_receipt_names_people_and_their_words_its_money_is_followed_and_a_base_answers_beside(
    tmp_path: Path,
) -> None:
    def run(*words: str) -> str:
        ran = run_command(*words, env=node_environment(node.home, COLUMNS="200", **UNBONDED))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    with taught_node(Home(tmp_path)) as node:
        digest = buy_as_guest(node.home, ANSWER)["digest"]
        shown = run("attribution", "show", digest[:14])
        assert all(name in shown for name in PEOPLE)
        assert "of its tokens match rows word for word" in shown
        assert "“Start with the string that faces east: it wakes first and trips first”" in shown
        assert "\u202e" not in shown
        followed = run("attribution", "show", digest[:14], "--follow")
        places = [followed.index(f" {step} ") for step in STEPS]
        assert places == sorted(places)
        assert "Datanet contributors  18.0000 %" in followed
        assert "register an adapter under a bond of 10 OPEN" in run("wallet", "history")
        both = run("chat", "hello", "--base-too", NAME, "--max-tokens", "10")
        assert both.index("fake alone (") < both.index(f"{NAME} (")
