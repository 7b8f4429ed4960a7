"""Samples on the command line; adding one to a real base is in tests/real."""

import pytest
from support.contributors import ADA, TERMS
from support.verbs import Run

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.sample import named_sample
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home

USAGE_ERROR = 2


@pytest.mark.parametrize("words", [(), ("--sample", "harbour", "--name", "mine"), (".", "--sample", "harbour")])
def test_either_a_folder_or_a_sample_is_added(run: Run, words: tuple[str, ...]) -> None:
    ran = run("adapters", "add", *words)
    assert (ran.status, ran.stdout) == (USAGE_ERROR, "")
    assert "give either a FOLDER, or --sample NAME alone" in ran.stderr


def test_the_rows_of_a_sample_are_contributed_with_the_accounts_of_its_people(run: Run, home: Home) -> None:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    batch = run("datanet", "contribute", "lake", "--sample", "harbour", "--json").json
    assert (batch["rows"], batch["contributors"], batch["unpaid"]) == (90, 3, 0)
    assert own.get("lake").accounts == named_sample("harbour").accounts
    assert run("datanet", "contribute", "lake").status == USAGE_ERROR
    assert "choose harbour or valley" in run("datanet", "contribute", "lake", "--sample", "lake").stderr
