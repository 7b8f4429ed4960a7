"""The work of an exchange: what is billed, and what its receipt commits to, computed alike by both sides."""

from dataclasses import replace

import pytest
from support.signed import digest, plain_receipt

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.opening import Opening, check_opening, opening_from_json, opening_to_json, work_of
from openledger_protocol.payments import Receipt, Work, billed_tokens
from openledger_protocol.primitives import AdapterId, RequestId, Salt
from openledger_protocol.wire.inference import Salts

OPENING = Opening(
    messages=(Message(role="user", content="Name three rivers."),),
    sampling=SamplingParams(max_tokens=8, seed=2**63),
    prefix="",
    text="Nile, Po",
    ids=(7, 8, 9, 2),
    salts=Salts(prompt=Salt(digest("1")), output=Salt(digest("2")), fingerprint=Salt(digest("3"))),
)
ADAPTER = AdapterId(digest("a"))


def work(opening: Opening = OPENING, canonical_ids: tuple[int, ...] = (7, 8, 9)) -> Work:
    return work_of(
        opening,
        request_id=RequestId(digest("4")),
        adapter_id=ADAPTER,
        profile_hash=digest("5"),
        index_root=digest("6"),
        tokens_in=5,
        canonical_ids=canonical_ids,
    )


def receipt(work: Work) -> Receipt:
    return plain_receipt(1, issued_at_s=1_800_000_000, adapter_id=ADAPTER, work=work, shares_hash=digest("d"))


@pytest.mark.parametrize(
    ("generated", "canonical", "billed"),
    [
        pytest.param((5, 6, 7), (5, 6, 7), 3, id="as generated"),
        pytest.param((5, 6, 2), (5, 6), 2, id="the stop token has no text, and is not billed"),
        pytest.param((5, 6, 7, 8), (9, 10), 2, id="a text spelled with more tokens than necessary"),
        pytest.param((5,), (5, 6), 1, id="no more than was generated"),
        pytest.param((2,), (), 0, id="no text"),
        pytest.param((), (), 0, id="nothing"),
    ],
)
def test_no_more_is_billed_than_was_generated_and_than_the_text_needs(
    generated: tuple[int, ...], canonical: tuple[int, ...], billed: int
) -> None:
    assert billed_tokens(generated, canonical) == billed


def test_the_work_of_an_exchange_bills_by_the_rule_and_names_what_was_done() -> None:
    found = work()
    assert found.tokens_out == billed_tokens(OPENING.ids, (7, 8, 9)) == 3
    assert (found.request_id, found.profile_hash, found.index_root) == (digest("4"), digest("5"), digest("6"))
    assert (found.tokens_in, found.retrieval_hash, found.signals_hash) == (5, digest("0"), digest("0"))


def test_the_work_of_an_exchange_is_opened_by_it() -> None:
    check_opening(OPENING, receipt(work()))
    check_opening(opening_from_json(opening_to_json(OPENING)), receipt(work()))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (replace(OPENING, messages="Name three rivers."), "prompt"),
        (replace(OPENING, sampling=SamplingParams(max_tokens=8, seed=1)), "prompt"),
        (replace(OPENING, text="Nile, Rhine"), "answer"),
        (replace(OPENING, ids=(7, 8, 9)), "tokens"),
    ],
)
def test_another_exchange_does_not_open_it(other: Opening, what: str) -> None:
    with pytest.raises(MalformedError, match=f"the {what} of this opening"):
        check_opening(other, receipt(work()))
