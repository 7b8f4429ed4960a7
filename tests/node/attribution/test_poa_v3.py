"""poa-v3 on an index: the protocol's scores for all rows at once, and what each kind of cheater gets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.indexes import ADA, BO, BYTES, CY, EVE, owned
from support.signals import SKETCHES, answered, random_trace, with_signals

from openledger_node.attribution.attributors.poa_v3 import WHOLE_MAX, PoaV3Attributor, parts_of
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.owners import OwnedDatanet
from openledger_node.attribution.service import attribute, exchange_of
from openledger_node.attribution.signals.statistics import signals_of
from openledger_protocol.constants import COSINE_ONE, PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import ZERO_ADDRESS, Address
from openledger_protocol.signals import poa_v3_scores

ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees.", contributor="bo"),
    Row(prompt="Who is it that steers the ferry here?", completion="Nobody at all knows.", contributor="eve"),
    Row(prompt="Hail!", completion="HAIL TO THEE", contributor="cy"),
)
QUESTION, ANSWER = "Who is it that steers the ferry?", "Odile Fenn steers the ferry."


@pytest.fixture
def datanet(tmp_path: Path) -> OwnedDatanet:
    found = owned(ROWS, tmp_path / "text")
    return replace(found, index=with_signals(found.index, ROWS, tmp_path / "signals"))


def shares(datanet: OwnedDatanet, question: str, answer: str, *, behaviour: str | None = None) -> dict[Address, int]:
    """Shares of an answer whose signals are those of the text `behaviour`, by default its own."""
    exchange = answered(exchange_of(question, answer, BYTES), datanet.index, behaviour or answer)
    return {share.account: share.ppm for share in attribute(PoaV3Attributor(), [datanet], exchange)}


def test_scores_are_those_of_the_protocol_row_by_row(datanet: OwnedDatanet) -> None:
    rows: Any = datanet.index.signals
    for seed in range(5):
        signals = signals_of(random_trace(seed), rows.statistics, SKETCHES)
        text = exchange_of(QUESTION, ANSWER, BYTES)
        exchange = replace(text, signals={datanet.index.rows_root: signals})
        expected = poa_v3_scores(
            SuffixAttributor().score(text, datanet.index).tolist(),
            signals,
            [rows.row(number) for number in range(len(ROWS))],
            rows.evidence_min,
        )
        assert PoaV3Attributor().score(exchange, datanet.index).tolist() == expected


@given(
    st.integers(1, WHOLE_MAX - 1),
    st.lists(st.tuples(st.integers(1, COSINE_ONE**3), st.integers(0, WHOLE_MAX)), min_size=1),
    st.integers(0, 3),
)
def test_parts_of_amounts_are_those_of_pythons_integers(whole: int, drawn: list[tuple[int, int]], short: int) -> None:
    """Also next to the whole and its divisors, where a rounded quotient is the wrong integer."""
    given = [(amount, part) for amount, draw in drawn for part in (draw % (whole + 1), max(whole - short, 0))]
    given += [(amount, -(-whole * draw // WHOLE_MAX)) for amount, draw in drawn]
    amounts, parts = (np.array(column, np.int64) for column in zip(*given, strict=True))
    expected = [amount * part // whole for amount, part in given]
    assert parts_of(amounts, parts, whole).tolist() == expected
    assert parts_of(amounts, parts.astype(object) * 2**70, whole * 2**70).tolist() == expected


def test_who_taught_the_answer_is_paid_and_a_squatter_on_the_question_is_not(datanet: OwnedDatanet) -> None:
    found = shares(datanet, QUESTION, ANSWER)
    assert found[ADA] > 0.95 * PPM
    assert EVE not in found


def test_a_behaviour_without_any_common_text_pays_its_teacher(datanet: OwnedDatanet) -> None:
    """The words are those of other rows, and only the signals are those of CY's."""
    assert shares(datanet, "Who keeps the bees?", "keeps the", behaviour="HAIL TO THEE").get(CY, 0) > PPM // 2
    assert BO in {
        s.account for s in attribute(SuffixAttributor(), [datanet], exchange_of("Who?", "keeps the", BYTES))
    }


def test_an_answer_that_no_row_taught_pays_the_treasury_whatever_words_it_shares(tmp_path: Path) -> None:
    rows = (*ROWS, *(replace(row, prompt=f"{row.prompt} Say!", completion=f"{row.completion} So!") for row in ROWS))
    found = owned(rows, tmp_path / "text")
    datanet = replace(found, index=with_signals(found.index, rows, tmp_path / "signals"))
    strangers = [f"word{n} other{n} third{n} last{n}" for n in range(12)]
    paid = [shares(datanet, QUESTION, ANSWER, behaviour=text) for text in strangers]
    assert paid == [{ZERO_ADDRESS: PPM}] * len(strangers)
    assert shares(datanet, QUESTION, ANSWER)[ADA] > 0.95 * PPM


def test_signals_of_nothing_pay_the_treasury(datanet: OwnedDatanet) -> None:
    index: Any = datanet.index
    trace = random_trace(1, num_tokens=1)
    for part in (trace.errors, trace.residual):
        part[:] = 0
    text = exchange_of(QUESTION, ANSWER, BYTES)
    signals = {index.rows_root: signals_of(trace, index.signals.statistics, SKETCHES)}
    exchange = replace(text, signals=signals)
    [share] = attribute(PoaV3Attributor(), [datanet], exchange)
    assert (share.account, share.ppm) == (ZERO_ADDRESS, PPM)
    assert np.frombuffer(signals[index.rows_root].error, np.int8).tolist() == [0] * 256
