"""The parts of `scripts/bench/chaos.py` that judge: calls, streams of killed sellers, receipts and bars."""

import argparse
import json
import sys
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from support.processes.nodes import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "bench"))

from chaos import QUICK, WHOLE, bars_of, chosen, resumed
from chaos_load import Asked, Ending, Load, without_ids
from chaos_money import TURN_TOKENS, Books, answers, charge_faults, claim_faults

from openledger_node.demo.processes import DemoError
from openledger_node.ledger.receipts import ReceiptRow

WHOLE_TEXT = "abcdefgh"
BUSY = {"code": "rate_limit_exceeded", "message": "try again"}
BROKEN = {"code": "internal_error", "message": "a mistake"}


def asked(**fields: Any) -> Asked:
    return Asked(**{"question": 0, "max_tokens": 4, "began_s": 0.0, "status": 200, **fields})


def event(text: str = "", finish_reason: str | None = None) -> dict[str, Any]:
    return {"id": "chatcmpl-07", "choices": [{"delta": {"content": text}, "finish_reason": finish_reason}]}


def load() -> Load:
    return Load(payers=[], streams=1, seed=1, wholes=[WHOLE_TEXT])


def sold(request_id: str, tokens_out: int, *, channel_id: str = "one") -> ReceiptRow:
    work = SimpleNamespace(request_id=request_id, tokens_out=tokens_out)
    receipt = SimpleNamespace(work=work, channel_id=channel_id)
    return cast(ReceiptRow, SimpleNamespace(digest=f"{request_id} {channel_id}", receipt=receipt))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"text": "abcd", "finish_reason": "length"}, Ending.SERVED),
        ({"text": "abc", "finish_reason": "length"}, Ending.LOST),
        ({"text": "abc", "finish_reason": "stop"}, Ending.LOST),
        ({"text": "abcc", "finish_reason": "length"}, Ending.LOST),
        ({"text": "ab", "why_cut": "the connection broke"}, Ending.LOST),
        ({"error": BUSY, "status": 429}, Ending.RETRYABLE),
        ({"error": BUSY, "text": "ab"}, Ending.RETRYABLE),
        ({"error": BUSY, "text": "b"}, Ending.LOST),
        ({"error": BUSY, "status": 400}, Ending.LOST),
        ({"error": BROKEN, "status": 503}, Ending.LOST),
    ],
)
def test_a_call_is_served_whole_or_may_be_retried_or_is_lost(fields: dict[str, Any], wanted: Ending) -> None:
    assert asked(**fields).ending(WHOLE_TEXT) is wanted


def test_a_stream_is_read_piece_by_piece_with_its_longest_silence() -> None:
    call = asked()
    for at_s, text in ((1.0, "a"), (4.0, "bc"), (5.0, "d")):
        call.take(event(text), at_s)
    call.take(event(finish_reason="length"), 6.0)
    assert (call.request_id, call.text, call.finish_reason) == ("0x07", "abcd", "length")
    assert (call.first_s, call.silence_s) == (1.0, 3.0)


def test_figures_count_each_ending_and_tell_why() -> None:
    calls = [
        asked(text="abcd", finish_reason="length", first_s=2.0),
        asked(error=BUSY, status=503),
        asked(error=BUSY, status=503),
        asked(error=BROKEN, status=500),
    ]
    found = load().figures(calls)
    assert (found["asked"], found["served"], found["retryable"], found["lost"]) == (4, 1, 2, 1)
    assert found["why_retryable"] == {"503 rate_limit_exceeded: try again": 2}
    assert found["why_lost"] == ["500 internal_error: a mistake"]
    assert found["first_text_p95_s"] == 2.0


def test_messages_are_counted_together_whatever_ids_are_in_them() -> None:
    assert without_ids(f"peer {'a' * 52} left") == without_ids(f"peer {'b' * 52} left")


def test_streams_of_killed_sellers_are_those_that_they_were_answering() -> None:
    calls = [
        asked(request_id="0x01", text="abcd", finish_reason="length"),
        asked(request_id="0x02", text="ab", error=BUSY),
        asked(request_id="0x03", text="abcd", finish_reason="length"),
        asked(request_id="0x04", error=BUSY),  # nothing had come, and it may be repeated
        asked(request_id="0x05", error=BROKEN),
    ]
    running = {"0x01", "0x02", "0x04", "0x05", "0x09"}
    assert resumed(calls, running, load()) == {"broken": 3, "resumed": 1}


def test_receipts_in_two_claims_or_in_none_are_faults() -> None:
    rows = [sold("0x01", 4), sold("0x02", 4)]
    digests = [row.digest for row in rows]
    assert not list(claim_faults(digests, rows))
    assert list(claim_faults([*digests, digests[0]], rows)) == [f"1 receipts are in two claims: {digests[0]}"]
    assert list(claim_faults(digests[:1], rows)) == [f"1 receipts are in no claim: {digests[1]}"]


def test_an_answer_with_two_receipts_of_a_channel_or_twice_its_price_is_a_fault() -> None:
    call = asked(request_id="0x01", max_tokens=400)
    fair = Books(sold={"a": [sold("0x01", 200)], "b": [sold("0x01", 200, channel_id="two")]})
    assert not list(charge_faults(fair, [call]))
    twice = Books(sold={"a": [sold("0x01", 200), sold("0x01", 200)]})
    assert list(charge_faults(twice, [call])) == ["request 0x01 has 2 receipts of a channel"]
    dear = Books(sold={"a": [sold("0x01", 400)], "b": [sold("0x01", 400, channel_id="two")]})
    assert list(charge_faults(dear, [call])) == ["request 0x01 of 400 tokens was charged 800 in 2 parts"]


def test_bars_are_met_if_nothing_was_lost_and_missed_otherwise() -> None:
    stage = {"asked": 5, "served": 3, "retryable": 2, "lost": 0}
    runs = {
        "stages": {
            "calm": stage,
            "sellers": {**stage, "broken": 2, "resumed": 1},
            "chain": {**stage, "served_after": 3},
        },
        "turns": {"sellers": 6, "answered": 5, "failed": {"seller-2": "not within 60 s"}},
        "money": {"receipts": 9, "claims": 2, "faults": ["the audit does not hold: x"]},
    }
    found = {each["id"]: each["met"] for each in bars_of(runs)}
    assert found == {
        "calm_lost": True,
        "sellers_lost": True,
        "sellers_resumed": False,
        "chain_lost": True,
        "chain_served_after": True,
        "answered_in_turn": False,
        "money_faults": False,
    }


def client_that_gets(status: int, body: str) -> httpx.Client:
    answer = httpx.MockTransport(lambda _: httpx.Response(status, text=body))
    return httpx.Client(transport=answer, base_url="http://node")


def test_a_seller_that_is_called_in_turn_answers_or_is_asked_again() -> None:
    events = [event("a" * TURN_TOKENS), event(finish_reason="length")]
    stream = "".join(f"data: {json.dumps(each)}\n\n" for each in events) + "data: [DONE]\n\n"
    assert answers(client_that_gets(200, stream))
    assert not answers(client_that_gets(503, json.dumps({"error": {**BUSY, "code": "unavailable"}})))
    with pytest.raises(DemoError, match="500 internal_error: a mistake"):
        answers(client_that_gets(500, json.dumps({"error": BROKEN})))


def test_flags_change_the_plan() -> None:
    words = argparse.Namespace(quick=False, sellers=12, chain_away=120.0)
    plan = chosen(words)
    assert (plan.sizes.sellers, plan.chain_away_s, plan.kills) == (12, 120.0, WHOLE.kills)
    assert chosen(argparse.Namespace(quick=True, sellers=None, chain_away=None)) == QUICK
