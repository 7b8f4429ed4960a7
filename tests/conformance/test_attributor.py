"""What every attributor must do, run over every plug."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.indexes import ADA, BO, BYTES, LAKE_ID, index_of
from support.signals import answered, with_signals

from openledger_node.attribution.attributor import Attributor, Exchange
from openledger_node.attribution.index import DatanetIndex
from openledger_node.attribution.service import exchange_of
from openledger_node.errors import NodeError
from openledger_node.plugs import load_plug, plug_names
from openledger_protocol.attribution import RowScore, check_shares
from openledger_protocol.constants import COSINE_ONE, PPM
from openledger_protocol.datanet import Row
from openledger_protocol.division import apportion
from openledger_protocol.primitives import ZERO_ADDRESS

ALGO_IDS = {"suffix-v1": 1, "size-v0": 4, "uniform-v0": 5, "poa-v3": 7}
ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees.", contributor="bo"),
    Row(prompt="Où est le phare ?", completion="À côté du vieux moulin.", contributor="ada"),
)
ASKED = exchange_of("Who is at the helm of the ferry?", "Odile Fenn steers it.", BYTES)
SCORES = (
    RowScore(cluster=0, account=BO, score=COSINE_ONE**3),
    RowScore(cluster=1, account=ADA, score=COSINE_ONE**3 // 3),
    RowScore(cluster=1, account=ADA, score=COSINE_ONE**3 // 2),
    RowScore(cluster=2, account=ADA, score=0),
)


@pytest.fixture(params=plug_names("attributor"))
def attributor(request: pytest.FixtureRequest) -> Attributor:
    opened: Attributor = load_plug("attributor", request.param)()
    assert opened.algo_id == ALGO_IDS.get(request.param, opened.algo_id)
    return opened


@pytest.fixture
def index(tmp_path: Path) -> DatanetIndex:
    return with_signals(index_of(ROWS, tmp_path / "text").datanets[0], ROWS, tmp_path / "signals")


def test_each_algorithm_has_a_number_of_its_own() -> None:
    numbers = [load_plug("attributor", name)().algo_id for name in plug_names("attributor")]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    "exchange",
    [
        ASKED,
        Exchange(prompt=(), answer=()),
        Exchange(prompt=ASKED.prompt, answer=()),
        Exchange(prompt=(), answer=(7,)),
    ],
    ids=["asked", "nothing", "no answer", "unknown token"],
)
def test_every_row_gets_one_integer_and_none_is_negative(
    attributor: Attributor, index: DatanetIndex, exchange: Exchange
) -> None:
    scores = attributor.score(answered(exchange, index, "Odile Fenn steers it."), index)
    assert len(scores) == index.num_rows == len(ROWS)
    assert all(type(score) is int and score >= 0 for score in scores.tolist())


def test_the_same_exchange_gives_the_same_scores_whatever_was_scored_before(
    attributor: Attributor, index: DatanetIndex
) -> None:
    asked = answered(ASKED, index, "Odile Fenn steers it.")
    other = answered(exchange_of("Who keeps the bees?", "Nobody does.", BYTES), index, "Nobody does.")
    first = attributor.score(asked, index).tolist()
    attributor.score(other, index)
    assert attributor.score(asked, index).tolist() == first


def test_an_algorithm_that_needs_signals_says_so_where_there_are_none(
    attributor: Attributor, index: DatanetIndex
) -> None:
    if not attributor.needs_signals:
        assert len(attributor.score(ASKED, replace(index, signals=None))) == len(ROWS)
        return
    with pytest.raises(NodeError, match="there are none of the answer"):
        attributor.score(ASKED, index)
    with pytest.raises(NodeError, match="there are none of the rows"):
        attributor.score(answered(ASKED, index, "Odile"), replace(index, signals=None))


def test_scores_become_shares_that_a_receipt_can_carry(attributor: Attributor) -> None:
    shares = attributor.share(LAKE_ID, SCORES)
    check_shares(shares, [LAKE_ID])
    assert {share.account for share in shares} == {ADA, BO}


def test_a_cluster_is_paid_once_by_its_best_row(attributor: Attributor) -> None:
    best_alone = [SCORES[0], *SCORES[2:]]
    assert attributor.share(LAKE_ID, SCORES) == attributor.share(LAKE_ID, best_alone)


@pytest.mark.parametrize("scores", [(), SCORES[3:]], ids=["no row", "no evidence"])
def test_without_evidence_all_goes_to_the_treasury(attributor: Attributor, scores: tuple[RowScore, ...]) -> None:
    [share] = attributor.share(LAKE_ID, scores)
    assert (share.account, share.ppm) == (ZERO_ADDRESS, PPM)


def test_the_order_of_the_rows_changes_nothing(attributor: Attributor) -> None:
    assert attributor.share(LAKE_ID, SCORES) == attributor.share(LAKE_ID, SCORES[::-1])


def test_weights_divide_as_shares_do(attributor: Attributor) -> None:
    best = [SCORES[0], *SCORES[2:]]
    ppm_of = {share.account: share.ppm for share in attributor.share(LAKE_ID, best)}
    weights = attributor.weights([row.score for row in best])
    whole = {name: sum(w for w, row in zip(weights, best, strict=True) if row.account == name) for name in ppm_of}
    assert ppm_of == dict(zip(whole, apportion(PPM, list(whole.values())), strict=True))
