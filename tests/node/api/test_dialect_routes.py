"""Dialects through the whole API: whole and as events, refused in their own forms, and with the base's values."""

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
from node.api.scripted_door import EndlessDoor, ScriptedDoor
from support.answered import request
from support.apis import KEY, open_api

from openledger_node.api.exchange import AnswerExchange
from openledger_node.api.operator import build_operator
from openledger_node.engine.chat_template import ChatStyle
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_node.market.router import REMOTE_MAX, RemoteRequest, Router
from openledger_node.models.sampling_defaults import NEUTRAL, SamplingDefaults
from openledger_node.serving.admission import Admitted
from openledger_protocol.errors import EngineFailedError, OverloadedError, UnavailableError
from openledger_protocol.inference import InferenceRequest, ServedModel

MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
BODIES: dict[str, dict[str, Any]] = {
    MESSAGES: {"model": "fake", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    RESPONSES: {"model": "fake", "input": "Hi"},
}
TOOLS: dict[str, dict[str, Any]] = {
    MESSAGES: {"name": "weather", "input_schema": {"type": "object"}},
    RESPONSES: {"type": "function", "name": "weather"},
}
CALL = ['<tool_call>{"name": "weather", ', '"arguments": {"place": "Øst"}}', "</tool_call>"]


async def ask(door: ScriptedDoor, path: str, **body: Any) -> httpx.Response:
    async with open_api(door=door) as api, api.client() as client:
        return await client.post(path, headers=api.key, json={**BODIES[path], **body})


async def count(door: ScriptedDoor, **body: Any) -> httpx.Response:
    async with open_api(door=door) as api, api.client() as client:
        headers = {"x-api-key": KEY}
        return await client.post(f"{MESSAGES}/count_tokens", headers=headers, json={**BODIES[MESSAGES], **body})


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]


async def test_a_message_says_the_same_whole_and_streamed() -> None:
    whole = (await ask(ScriptedDoor(CALL), MESSAGES, tools=[TOOLS[MESSAGES]])).json()
    assert whole["content"][0]["input"] == {"place": "Øst"}
    assert (whole["stop_reason"], whole["usage"]["input_tokens"]) == ("tool_use", 5)
    events = events_of(await ask(ScriptedDoor(CALL), MESSAGES, tools=[TOOLS[MESSAGES]], stream=True))
    assert events[0]["message"]["usage"]["input_tokens"] == 5
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(delta["partial_json"] for delta in deltas)) == {"place": "Øst"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_a_response_says_the_same_whole_and_streamed() -> None:
    whole = (await ask(ScriptedDoor(CALL), RESPONSES, tools=[TOOLS[RESPONSES]], store=True)).json()
    assert (whole["status"], whole["store"]) == ("completed", False)
    streamed = events_of(await ask(ScriptedDoor(CALL), RESPONSES, tools=[TOOLS[RESPONSES]], stream=True))
    for (item,) in (whole["output"], streamed[-1]["response"]["output"]):
        found = (item["type"], item["name"], json.loads(item["arguments"]))
        assert found == ("function_call", "weather", {"place": "Øst"})


async def test_a_refusal_has_the_form_of_the_dialect() -> None:
    forms = {}
    for path in BODIES:
        door = ScriptedDoor()
        door.refuse_after(0, OverloadedError("full"))
        response = await ask(door, path, stream=True)
        assert (response.status_code, response.headers["retry-after"]) == (429, "2")
        forms[path] = response.json()
    assert forms[MESSAGES] == {"type": "error", "error": {"type": "rate_limit_error", "message": "full"}}
    assert forms[RESPONSES]["error"]["code"] == "rate_limit_exceeded"
    message = await ask(ScriptedDoor(), MESSAGES, max_tokens="many")
    assert (message.status_code, message.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "max_tokens" in message.json()["error"]["message"]
    assert (await ask(ScriptedDoor(), RESPONSES, input=5)).json()["error"]["param"].startswith("input")


async def test_a_failure_before_the_first_token_has_its_status_and_a_later_one_is_the_last_event() -> None:
    for path in BODIES:
        early = await ask(ScriptedDoor((), failure=EngineFailedError("it died")), path, stream=True)
        assert early.status_code == 503
        late = await ask(ScriptedDoor(failure=UnavailableError("gone")), path, stream=True)
        last = events_of(late)[-1]
        assert last["type"] == ("error" if path == MESSAGES else "response.failed")
        assert "gone" in json.dumps(last)
        assert "[DONE]" not in late.text


async def test_depth_at_the_bound_of_the_parser_is_refused_in_words() -> None:
    """The parser takes a little more depth than a place that writes the value again."""
    async with open_api(door=ScriptedDoor()) as api, api.client() as client:
        for depth in (150, *range(900, 1_000, 12)):
            deep = f'{{"x":{"[" * depth}{"]" * depth}}}'
            for path, field in ((MESSAGES, "input_schema"), (RESPONSES, "parameters"), (RESPONSES, "other")):
                tools = json.dumps([{**TOOLS[path], field: 0}]).replace(f'"{field}": 0', f'"{field}": {deep}')
                content = json.dumps({**BODIES[path], "tools": 0}).replace('"tools": 0', f'"tools": {tools}')
                headers = {**api.key, "Content-Type": "application/json"}
                response = await client.post(path, headers=headers, content=content)
                assert response.status_code in (200, 400), (path, field, depth)


async def test_a_mistake_of_ours_has_the_form_of_the_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*values: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(AnswerExchange, "read", fail)
    message, response = [await ask(ScriptedDoor(), path) for path in BODIES]
    assert (message.status_code, message.json()["error"]["type"]) == (500, "api_error")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    message_end, response_end = [events_of(await ask(ScriptedDoor(), path, stream=True))[-1] for path in BODIES]
    assert (message_end["type"], message_end["error"]["type"]) == ("error", "overloaded_error")
    assert response_end["response"]["error"]["code"] == "server_error"


async def test_a_count_that_fails_ends_the_answer_that_was_begun() -> None:
    class Uncounted(EndlessDoor):
        async def prompt_ids(self, request: InferenceRequest) -> tuple[int, ...]:
            raise UnavailableError("no count")

    door = Uncounted()
    async with open_api(door=door) as api, api.client() as client:
        response = await client.post(MESSAGES, headers=api.key, json=BODIES[MESSAGES])
        assert response.status_code == 503
        with trio.fail_after(2):
            await door.was_left.wait()


async def test_a_count_is_bounded_by_the_context_and_places_by_who_answers() -> None:
    asked: list[int] = []

    class Counting(ByteTokenizer):
        def render(self, *values: Any, tokens_max: int = 0) -> tuple[int, ...]:
            asked.append(tokens_max)
            return super().render(*values, tokens_max=tokens_max)

    class Serving:
        queue_max = 3
        tokenizer = Counting()

        async def find_model(self, name: str) -> ServedModel:
            return ServedModel(name=name, parent=None, created_s=1, context_max=77)

    router = Router(Serving(), Any, lambda: None, is_serving=True)  # type: ignore[arg-type]
    assert await router.prompt_ids(request())
    assert asked == [77]
    remote = RemoteRequest(request=request(), requested=Any)  # type: ignore[arg-type]
    here = Admitted(request=request(), prompt_ids=(1,), adapter=None)
    assert (router.places_max(here), router.places_max(remote)) == (3, REMOTE_MAX)


async def test_tokens_are_counted_without_an_answer_and_with_its_wish() -> None:
    class Noting(ScriptedDoor):
        async def prompt_ids(self, request: InferenceRequest) -> tuple[int, ...]:
            wishes.append(request.thinking)
            return await super().prompt_ids(request)

    wishes: list[bool | None] = []
    door = Noting(style=ChatStyle(can_reason=True, can_switch=True, default_thinking=True))
    counted = await count(door, thinking={"type": "disabled"}, max_tokens=None)
    assert (counted.json(), wishes, door.requests) == ({"input_tokens": 5}, [False], [])
    assert (await count(door, thinking={"type": []})).status_code == 400


WARM = SamplingDefaults(temperature=0.2, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1)
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ALL_BODIES = {
    CHAT: {"model": "fake", "messages": [{"role": "user", "content": "Hi"}]},
    TEXT: {"model": "fake", "prompt": "Hi"},
    **BODIES,
}


async def sampled(path: str, *bodies: dict[str, Any]) -> list[SamplingDefaults]:
    """The sampling of the request that each body becomes, on a base with values of its own."""
    door = ScriptedDoor()
    door.sampling_defaults = WARM
    async with open_api(door=door) as api, api.client() as client:
        for body in bodies:
            answer = await client.post(path, headers=api.key, json={**ALL_BODIES[path], **body})
            assert answer.status_code == 200, answer.text
            assert path != RESPONSES or answer.json()["temperature"] == door.requests[-1].sampling.temperature
        listed = (await client.get("/v1/models", headers=api.key)).json()["data"]
    assert [model["default_parameters"] for model in listed] == [asdict(WARM)] * len(listed)
    return [
        SamplingDefaults(**{name: getattr(request.sampling, name) for name in asdict(NEUTRAL)})
        for request in door.requests
    ]


@pytest.mark.parametrize("path", ALL_BODIES)
async def test_a_field_that_is_left_out_takes_the_bases_value_and_one_that_is_given_keeps_its_own(path: str) -> None:
    absent, null, given = await sampled(
        path, {}, {"temperature": None, "top_p": None}, {"temperature": 0, "top_p": 1}
    )
    assert absent == null == WARM
    assert (given.temperature, given.top_p, given.top_k) == (0, 1, WARM.top_k)


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_neutral_values_switch_each_default_off(path: str) -> None:
    neutral = {"temperature": 1, "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1}
    off, other = await sampled(path, neutral, {"repeat_penalty": 1.3})
    assert (off, other.repetition_penalty) == (NEUTRAL, 1.3)


async def test_scores_of_a_prompt_take_no_penalty_of_the_base() -> None:
    scored, answered = await sampled(TEXT, {"echo": True, "logprobs": 0, "max_tokens": 0}, {"echo": True})
    assert (scored.repetition_penalty, scored.temperature) == (1, WARM.temperature)
    assert answered.repetition_penalty == WARM.repetition_penalty


async def test_a_guests_request_takes_the_bases_values_before_it_is_bought() -> None:
    bought: list[InferenceRequest] = []

    class Network:
        async def ask_as_guest(self, request: InferenceRequest, show: Any) -> dict[str, Any]:
            bought.append(request)
            return {}

    operator = SimpleNamespace(parts=SimpleNamespace(serving=SimpleNamespace(sampling_defaults=WARM)))
    async with trio.open_nursery() as nursery:
        app = build_operator(operator, Network(), nursery, pins=None, stop=list)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
            await client.post("/guest", json={**ALL_BODIES[CHAT], "top_k": 7})
    (request,) = bought
    assert (request.sampling.temperature, request.sampling.top_k) == (WARM.temperature, 7)
