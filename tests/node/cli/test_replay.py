"""`gov replay` as people call it, over a node that has sold answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.fixtures import seller, world
from support.chain_world.seller import Seller
from support.verbs import Run

from openledger_node.cli import replay
from openledger_node.cli.transactions import MoneyClient
from openledger_node.errors import ConfigError
from openledger_protocol.adapter import PublicProbe

__all__ = ["seller", "world"]

PROBE = PublicProbe(prompt="What does Odile keep?", answer="Odile keeps the harbour.")


class SellersMoney:
    """Questions to the seller's own node, as its daemon would answer them."""

    def __init__(self, seller: Seller) -> None:
        self._seller = seller

    def ask(self, question: str, **arguments: Any) -> Any:
        return json.loads(json.dumps(self._seller.questions.answer(question, json.loads(json.dumps(arguments)))))


@pytest.fixture
async def earned(seller: Seller, monkeypatch: pytest.MonkeyPatch) -> Seller:
    """A seller whose answers are paid, and whom the commands ask."""

    @contextmanager
    def open_money() -> Iterator[MoneyClient]:
        yield SellersMoney(seller)

    seller.publish(seller.train((PROBE,)))
    await seller.ask("What does Odile keep?", model="lake")
    seller.settle_all()
    seller.world.node.step()
    monkeypatch.setattr(replay, "open_money", open_money)
    return seller


async def test_a_change_is_shown_with_everybody_it_concerns(earned: Seller, run: Run) -> None:
    ran = run("gov", "replay", "dataPpm=22%", "minStake=150", "draws=6")
    assert ran.status == 0
    for word in ("dataPpm 20 % → 22 %", "contributors", "Datanets' treasuries", "would be", "6 draws catch"):
        assert word in ran.stdout
    assert "minStake: 100 OPEN → 150 OPEN, nodes with less stake: 1" in ran.stdout
    assert "History, not a forecast" in ran.stderr
    found = run("gov", "replay", "dataPpm=22%", "--json").json
    assert found["schema"] == "openledger.replay/1"
    assert sum(int(each["difference_wei"]) for each in found["roles"]) == 0
    assert int(next(each for each in found["roles"] if each["role"] == "contributors")["difference_wei"]) > 0


async def test_a_report_is_written_once_and_can_be_checked(earned: Seller, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    ran = run("gov", "replay", "algoId=5", "--report", str(file))
    assert ran.status == 0
    assert "of adapters with 100.0 % of it" in ran.stdout
    assert run("gov", "replay", "--check", str(file)).status == 0
    again = run("gov", "replay", "algoId=4", "--report", str(file))
    assert (again.status, "never overwritten" in again.stderr) == (ConfigError.exit_code, True)
    report = json.loads(file.read_text())
    file.write_text(json.dumps({**report, "probes_wei": "7"}))
    ran = run("gov", "replay", "--check", str(file))
    assert (ran.status, "FALSE" in ran.stdout) == (1, True)


async def test_a_rule_alone_says_how_to_replay_it(earned: Seller, run: Run) -> None:
    assert "--report FILE" in run("gov", "replay", "algoId=5").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give a proposal's number"),
        (("dataPpm=22%", "dataPpm=23%"), "given twice"),
        (("dataPpm=22%", "draws"), "is not KEY=VALUE"),
        (("dataPpm=22%", "--report", "report.json"), "a report is about one rule"),
    ],
)
def test_words_that_say_nothing_are_refused(run: Run, words: tuple[str, ...], says: str) -> None:
    ran = run("gov", "replay", *words)
    assert ran.status == 2
    assert says in " ".join(ran.stderr.replace("│", " ").split())


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\udcff"])
def test_a_file_that_is_no_json_is_refused(run: Run, tmp_path: Path, content: str) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    ran = run("gov", "replay", "--check", str(file))
    assert (ran.status, "is no report" in ran.stderr) == (ConfigError.exit_code, True)
