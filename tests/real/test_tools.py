"""Tool calls by the real demo base, whose template takes no tools and whose model was never taught to call any."""

import json
from pathlib import Path

import pytest
import trio

from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.frames import EngineChunk, Finished, Submit
from openledger_node.engine.tokenizer import Tokenizer, open_tokenizer
from openledger_node.serving.admission import prepare
from openledger_node.serving.answer_parts import (
    AnswerParts,
    ToolCallArguments,
    ToolCallStart,
    answer_format,
)
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams, TokenChunk, Tool, Tooling
from openledger_protocol.primitives import ZERO_DIGEST, RequestId

pytestmark = [pytest.mark.real, pytest.mark.slow]

TOOLS = (
    Tool(
        name="get_weather",
        description="The weather of a town on a day.",
        parameters=json.dumps(
            {
                "type": "object",
                "properties": {
                    "town": {"type": "string", "maxLength": 20},
                    "day": {"enum": ["today", "tomorrow"]},
                },
                "required": ["town", "day"],
                "additionalProperties": False,
            }
        ),
    ),
    Tool(name="get_time", description="The time now.", parameters='{"type":"object","additionalProperties":false}'),
)
REQUEST = InferenceRequest(
    request_id=RequestId(ZERO_DIGEST),
    model=DEMO_BASE_NAME,
    prompt=(Message(role="user", content="What will the weather be in Turku tomorrow?"),),
    sampling=SamplingParams(max_tokens=160, seed=5, temperature=1.5),
    tooling=Tooling(tools=TOOLS, choice="required", name="get_weather", parallel=False),
)


async def answer_to(request: InferenceRequest, engine: Engine, tokenizer: Tokenizer) -> str:
    prepared = prepare(tokenizer, engine.profile, request)
    outcomes = engine.submit(
        Submit(
            sequence_id="call",
            prompt_ids=prepared.prompt_ids,
            sampling=request.sampling,
            adapter=None,
            grammar=prepared.grammar,
        )
    )
    texts = []
    async for outcome in outcomes:
        if isinstance(outcome, EngineChunk):
            texts.append(outcome.text)
        else:
            assert outcome == Finished(sequence_id="call", reason="stop")
    return "".join(texts)


async def test_a_small_model_that_must_call_a_tool_writes_a_call_that_fits_its_schema(
    demo_base: Path, tmp_path: Path
) -> None:
    options = EngineOptions(
        backend="torch_lora",
        settings=BackendSettings(
            base_folder=str(demo_base), device="cpu", dtype="auto", threads=2, batch_max=2, context_max=1024
        ),
        prefill_tokens_max=512,
        adapter_cache_bytes=1 << 26,
        stall_timeout_s=60.0,
        wait_policy="passive",
    )
    engine, tokenizer = Engine(options), open_tokenizer(demo_base)
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            text = await answer_to(REQUEST, engine, tokenizer)
            nursery.cancel_scope.cancel()
    reader = AnswerParts(answer_format(tokenizer.style, REQUEST), call_id=lambda: "call")
    start, given = [*reader.push(TokenChunk(text=text, ids=())), *reader.end()]
    assert start == ToolCallStart(0, "call", "get_weather")
    assert isinstance(given, ToolCallArguments)
    arguments = json.loads(given.text)
    assert list(arguments) == ["town", "day"]
    assert arguments["day"] in ("today", "tomorrow")
