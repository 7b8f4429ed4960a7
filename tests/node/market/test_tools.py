"""Answers with tools and schemas, bought from nodes that say that they can do this."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.local_engine import child_engine
from support.market_world.market import open_market
from support.market_world.requests import network_request
from support.market_world.terms import word

from openledger_node.engine.chat_template import ChatStyle
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.market.requester import RequesterLimits
from openledger_node.serving.answer_parts import AnswerParts, ToolCallArguments, ToolCallStart, answer_format
from openledger_protocol.commitments import prompt_commit
from openledger_protocol.errors import UnavailableError
from openledger_protocol.inference import Message, TokenChunk, Tool, ToolCall, Tooling
from openledger_protocol.opening import Opening
from openledger_protocol.primitives import ZERO_DIGEST, Digest

WEATHER = Tool(
    name="get_weather",
    description="The weather of a town.",
    parameters='{"type":"object","properties":{"day":{"type":"integer","minimum":1,"maximum":9}},'
    '"required":["day"],"additionalProperties":false}',
)
ONE_CALL = Tooling(tools=(WEATHER,), choice="required", parallel=False)
TURNS = (
    Message(role="user", content="Is it raining?"),
    Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="get_weather", arguments='{"day":1}'),)),
    Message(role="tool", content="no", tool_call_id="1"),
    Message(role="user", content="And tomorrow?"),
)


@pytest.mark.process
async def test_a_call_is_forced_by_a_seller_and_its_receipt_commits_to_the_tools(tmp_path: Path) -> None:
    kept: list[tuple[Digest, Opening]] = []
    keep: Any = lambda _: lambda digest, opening: kept.append((digest, opening))  # noqa: E731
    async with open_market(tmp_path, open_engine=child_engine, keep_texts=keep) as market:
        answered = await market.ask(TURNS, max_tokens=200, tooling=ONE_CALL)
        await market.seller.wait_served(1)
        (row,) = market.seller.ledger.receipts.newest(limit=9)
    request = network_request(TURNS, tooling=ONE_CALL).request
    reader = AnswerParts(answer_format(ChatStyle(), request), call_id=lambda: "call")
    start, arguments = (*reader.push(TokenChunk(text=answered.text, ids=())), *reader.end())
    assert start == ToolCallStart(0, "call", "get_weather")
    assert isinstance(arguments, ToolCallArguments)
    assert 1 <= json.loads(arguments.text)["day"] <= 9
    [(_, opening)] = kept
    commit = prompt_commit(opening.salts.prompt, TURNS, opening.sampling, ONE_CALL)
    assert row.receipt.work.prompt_commit == commit
    assert row.receipt.work.tokens_in == len(ByteTokenizer().render(TURNS, ONE_CALL))
    assert row.countersignature, "the payer has computed the same"
    assert prompt_commit(opening.salts.prompt, TURNS, opening.sampling) != commit


async def test_only_nodes_that_can_force_calls_are_bought_from(tmp_path: Path) -> None:
    patient = RequesterLimits(bid_timeout_s=60.0)
    async with open_market(tmp_path, {"old": 1, "new": 2}, limits=patient) as market:
        old = market.sellers["old"]
        old.state = replace(old.state, can=())
        # This comes first, because an answer measures its seller, and how fast it was would decide the next award.
        assert market.names_of(await market.ask(TURNS[:1])) == ["old"], "without tools, the cheaper one"
        answered = await market.ask(TURNS, name="r2", tooling=replace(ONE_CALL, choice="auto"))
        assert market.names_of(answered) == ["new"]
        new = market.sellers["new"]
        new.state = replace(new.state, can=("tools", "schema"))
        with pytest.raises(UnavailableError, match="does not say that it can do this: calls"):
            await market.ask(TURNS, name="r3", tooling=ONE_CALL)


@pytest.mark.parametrize(
    ("named", "own", "words", "unknown"),
    [
        ("tokenizer", "digest", "another tokenizer", "its own"),
        ("template", "template_digest", "another chat template", "the seller's"),
    ],
)
async def test_a_node_that_counts_otherwise_is_passed_over_but_not_where_one_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, own: str, words: str, unknown: str
) -> None:
    patient = RequesterLimits(bid_timeout_s=60.0)
    async with open_market(tmp_path, {"other": 1, "same": 2}, limits=patient) as market:
        other, same = market.sellers.values()
        other.state = replace(other.state, **{named: Digest(word("a"))})
        same.state = replace(same.state, **{named: Digest(word("b"))})
        tokenizer = market.buyer.requester._tokenizer
        monkeypatch.setattr(tokenizer, own, Digest(word("b")))
        assert market.names_of(await market.ask(TURNS)) == ["same"]
        same.state = other.state
        with pytest.raises(UnavailableError, match=f"has {words}"):
            await market.ask(TURNS, name="r2")
        if unknown == "its own":
            monkeypatch.setattr(tokenizer, own, ZERO_DIGEST)
        else:
            other.state = replace(other.state, **{named: ZERO_DIGEST})
        assert market.names_of(await market.ask(TURNS, name="r3")) == ["other"]
