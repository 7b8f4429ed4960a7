"""Shares of an answer by the scores of its rows, and what each row carries of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.indexes import ACCOUNTS, ADA, BO, BYTES, CY, EVE, LAKE_ID, ROWS_ROOT, index_of, index_of_tokens, owned
from support.processes.nodes import TEST_HOME

from openledger_node.attribution.attributor import Attributor
from openledger_node.attribution.attributors.poa_v3 import PoaV3Attributor
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.attributors.uniform import SizeAttributor, UniformAttributor, proportional_shares
from openledger_node.attribution.owners import OwnedDatanet, join_owners
from openledger_node.attribution.service import attribute, exchange_of, row_parts, share_out, treasury_shares
from openledger_node.datanets.sample import draw_sample
from openledger_node.datanets.version import make_version
from openledger_node.engine.tokenizer import open_tokenizer
from openledger_protocol.attribution import RowScore, check_shares, shares_from_scores, shares_from_signal_scores
from openledger_protocol.constants import DEMO_BASE_NAME, PPM, SURE_SCORE
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.inference import Message
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId

HILL_ID = DatanetId("0x" + "00" * 31 + "99")
SUFFIX = SuffixAttributor()
ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees.", contributor="bo"),
)
ASKED = exchange_of("Who is at the helm?", "It is Odile Fenn.", BYTES)


def test_shares_ascend_by_datanet_and_each_datanet_has_all_of_its_own(tmp_path: Path) -> None:
    lake = owned(ROWS, tmp_path / "lake")
    hill = replace(owned(ROWS[1:], tmp_path / "hill"), id=HILL_ID)
    shares = attribute(SUFFIX, [lake, hill], ASKED)
    check_shares(shares, [LAKE_ID, HILL_ID])
    assert shares == attribute(SUFFIX, [hill, lake], ASKED)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 14)), min_size=1, max_size=40))
def test_the_best_rows_give_the_shares_that_all_rows_give(rows: list[tuple[int, int]]) -> None:
    scores, clusters = (list(column) for column in zip(*rows, strict=True))
    accounts = tuple((ADA, BO, CY, EVE)[cluster % 4] for cluster in clusters)
    index = index_of_tokens([[1]] * len(rows))
    datanet = OwnedDatanet(
        id=LAKE_ID, index=index, clusters=tuple(clusters), accounts=accounts, firsts=index.row_digests
    )
    found = zip(clusters, accounts, scores, strict=True)
    every = [RowScore(cluster=cluster, account=account, score=score) for cluster, account, score in found]
    assert share_out(SUFFIX, datanet, np.array(scores)) == shares_from_scores(LAKE_ID, every)
    assert share_out(UniformAttributor(), datanet, np.array(scores)) == proportional_shares(LAKE_ID, every)
    assert share_out(PoaV3Attributor(), datanet, np.array(scores)) == shares_from_signal_scores(LAKE_ID, every)


def of_rows(*rows: tuple[int, Address]) -> OwnedDatanet:
    """A Datanet whose rows have these clusters and accounts."""
    index = index_of_tokens([[0]] * len(rows))
    clusters, accounts = zip(*rows, strict=True)
    return OwnedDatanet(id=LAKE_ID, index=index, clusters=clusters, accounts=accounts, firsts=index.row_digests)


def parts_of(attributor: Attributor, datanet: OwnedDatanet, scores: list[int]) -> dict[int, int]:
    """Parts of rows where the receipt's shares are those of the same scores."""
    ppm_of = {share.account: share.ppm for share in share_out(attributor, datanet, np.array(scores))}
    return row_parts(attributor, datanet, np.array(scores), ppm_of)


@pytest.mark.parametrize("attributor", [SUFFIX, PoaV3Attributor(), UniformAttributor()])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2 * SURE_SCORE)), min_size=1, max_size=20))
def test_rows_carry_what_their_accounts_have(attributor: Attributor, rows: list[tuple[int, int]]) -> None:
    datanet = of_rows(*((cluster, (ADA, BO, CY)[cluster % 3]) for cluster, _ in rows))
    scores = [score for _, score in rows]
    parts = parts_of(attributor, datanet, scores)
    for share in share_out(attributor, datanet, np.array(scores)):
        own = [ppm for row, ppm in parts.items() if datanet.accounts[row] == share.account]
        assert sum(own) == (0 if share.account == ZERO_ADDRESS else share.ppm)


def test_a_row_under_the_floor_of_its_rule_carries_nothing_of_its_owners_share() -> None:
    datanet, scores = of_rows((0, ADA), (1, ADA), (2, BO)), [8 * SURE_SCORE, SURE_SCORE, 8 * SURE_SCORE]
    assert parts_of(PoaV3Attributor(), datanet, scores) == {0: 500_000, 2: 500_000}
    assert parts_of(SUFFIX, datanet, scores)[1] > 0


def test_withdrawn_rows_carry_what_they_took_and_not_what_the_treasury_gets_for_want_of_evidence() -> None:
    datanet, scores = of_rows((0, ZERO_ADDRESS), (1, ADA)), [SURE_SCORE // 2] * 2
    (zero, ada) = share_out(PoaV3Attributor(), datanet, np.array(scores))
    assert (zero.account, zero.ppm, ada.ppm) == (ZERO_ADDRESS, 750_000, 250_000)
    assert parts_of(PoaV3Attributor(), datanet, scores) == {0: 250_000, 1: 250_000}
    assert parts_of(SUFFIX, datanet, scores) == {0: 500_000, 1: 500_000}


def test_a_receipts_own_shares_are_divided_and_not_those_of_the_scores() -> None:
    datanet = of_rows((0, ADA), (1, ADA), (2, BO))
    assert row_parts(SUFFIX, datanet, np.array([3, 1, 9]), {ADA: 1_000, CY: 999_000}) == {0: 900, 1: 100}


def test_an_answer_like_no_row_and_a_contributor_without_an_address_pay_the_treasury(tmp_path: Path) -> None:
    assert attribute(SUFFIX, [owned(ROWS, tmp_path)], exchange_of("?", "«»", BYTES)) == treasury_shares([LAKE_ID])
    shares = attribute(SUFFIX, [owned(ROWS, tmp_path / "bo", accounts={"bo": BO})], ASKED)
    assert shares[0].account == ZERO_ADDRESS
    assert shares[0].ppm > 990_000


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("raw {text}", "raw {text}"),
        (
            (
                Message(role="system", content="Be brief."),
                Message(role="user", content="Who?"),
                Message(role="assistant", content="Ada."),
                Message(role="user", content="Since when?"),
            ),
            "Who?\nSince when?",
        ),
        ((Message(role="system", content="Go on."),), ""),
        ((Message(role="user", content="Who?"), Message(role="tool", content="Ada", tool_call_id="1")), "Who?"),
    ],
)
def test_the_prompt_is_the_users_turns_alone(prompt: Any, text: str) -> None:
    exchange = exchange_of(prompt, "Yes.", BYTES)
    assert (exchange.prompt, exchange.answer) == (tuple(text.encode()), tuple(b"Yes."))


def test_an_index_of_an_unknown_datanet_or_with_a_row_that_it_does_not_have_is_refused(tmp_path: Path) -> None:
    index, version = index_of(ROWS, tmp_path), make_version("lake", "1", ROWS, ACCOUNTS)
    for versions, ids in (({}, {ROWS_ROOT: LAKE_ID}), ({ROWS_ROOT: version.rows}, {})):
        with pytest.raises(AdapterRefusedError, match="version 1 of Datanet lake is not known here"):
            join_owners(index, versions, ids)
    shorter = make_version("lake", "1", ROWS[:1], ACCOUNTS)
    with pytest.raises(AdapterRefusedError, match="is not in version 1 of Datanet lake"):
        join_owners(index, {ROWS_ROOT: shorter.rows}, {ROWS_ROOT: LAKE_ID})


@pytest.mark.parametrize(
    "base",
    [
        pytest.param(None, id="bytes"),
        pytest.param(TEST_HOME.models / DEMO_BASE_NAME, id="demo base", marks=pytest.mark.model),
    ],
)
def test_who_taught_a_fact_gets_the_most_of_an_answer_to_another_question(base: Path | None, tmp_path: Path) -> None:
    tokenizer, sample = open_tokenizer(base), draw_sample(1)
    names = sorted({row.contributor for row in sample.rows})
    accounts = dict(zip(names, ACCOUNTS.values(), strict=False))
    lake = owned(sample.rows, tmp_path, tokenizer=tokenizer, accounts=accounts)
    got = []
    for row in sample.held_out:
        shares = attribute(SUFFIX, [lake], exchange_of(row.prompt, row.completion, tokenizer))
        got.append(sum(share.ppm for share in shares if share.account == accounts[row.contributor]))
    assert sum(got) / len(got) > 950_000, "of 1,000,000 on average; measured: 980,000 to 999,000"
    assert min(got) > PPM // 2


def row(cluster: int, account: Address, score: int = 1) -> RowScore:
    return RowScore(cluster=cluster, account=account, score=score)


def test_rows_count_alike_or_by_their_tokens() -> None:
    index = index_of_tokens([[1, 2, 3], [], [4]])
    assert UniformAttributor().score(ASKED, index).tolist() == [1, 1, 1]
    assert SizeAttributor().score(ASKED, index).tolist() == [3, 0, 1]


def test_every_cluster_is_paid_however_many_there_are() -> None:
    rows = [row(cluster, ADA if cluster < 30 else BO) for cluster in range(40)]
    assert [(share.account, share.ppm) for share in proportional_shares(LAKE_ID, rows)] == [
        (ADA, 750_000),
        (BO, 250_000),
    ]


def test_what_is_left_over_goes_to_the_largest_remainder_then_to_the_lower_account() -> None:
    thirds = proportional_shares(LAKE_ID, [row(2, CY), row(1, BO), row(0, ADA)])
    assert [share.ppm for share in thirds] == [333_334, 333_333, 333_333]
    sevenths = proportional_shares(LAKE_ID, [row(0, ADA, 2), row(1, BO, 2), row(2, CY, 3)])
    assert [share.ppm for share in sevenths] == [285_714, 285_714, 428_572]
