"""Sampling fields that a client leaves out take the base's values, in each dialect."""

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
from support.apis import KEY, open_api
from support.scripted_door import ScriptedDoor

from openledger_node.api.operator import build_operator
from openledger_node.models.sampling_defaults import NEUTRAL, SamplingDefaults
from openledger_protocol.inference import InferenceRequest

WARM = SamplingDefaults(temperature=0.2, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1)
CHAT, TEXT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
TURNS = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "fake", "messages": TURNS},
    TEXT: {"model": "fake", "prompt": "Hi"},
    RESPONSES: {"model": "fake", "input": "Hi"},
    MESSAGES: {"model": "fake", "max_tokens": 9, "messages": TURNS},
}


async def sampled(defaults: SamplingDefaults, path: str, **body: Any) -> SamplingDefaults:
    """The sampling of the request that a body becomes."""
    door = ScriptedDoor()
    door.sampling_defaults = defaults
    async with open_api(door=door) as api, api.client() as client:
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = await client.post(path, headers=headers, json={**BODIES[path], **body})
    assert answer.status_code == 200, answer.text
    (request,) = door.requests
    return SamplingDefaults(**{name: getattr(request.sampling, name) for name in asdict(NEUTRAL)})


@pytest.mark.parametrize("path", BODIES)
async def test_a_field_that_is_left_out_takes_the_base_s_value(path: str) -> None:
    assert await sampled(WARM, path) == WARM
    assert await sampled(WARM, path, temperature=None, top_p=None) == WARM
    assert await sampled(NEUTRAL, path) == NEUTRAL


@pytest.mark.parametrize("path", BODIES)
async def test_a_field_that_is_given_keeps_its_value(path: str) -> None:
    found = await sampled(WARM, path, temperature=0, top_p=1)
    assert (found.temperature, found.top_p, found.top_k) == (0, 1, WARM.top_k)


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_neutral_values_switch_each_default_off(path: str) -> None:
    neutral = {"temperature": 1, "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1}
    assert await sampled(WARM, path, **neutral) == NEUTRAL
    assert (await sampled(WARM, path, repeat_penalty=1.3)).repetition_penalty == 1.3


async def test_a_base_without_sampling_takes_the_likeliest_token() -> None:
    greedy = SamplingDefaults(temperature=0)
    assert await sampled(greedy, CHAT) == greedy
    assert (await sampled(greedy, CHAT, temperature=0.7)).temperature == 0.7


async def test_scores_of_a_prompt_take_no_penalty_of_the_base() -> None:
    scored = await sampled(WARM, TEXT, echo=True, logprobs=0, max_tokens=0)
    assert (scored.repetition_penalty, scored.temperature) == (1, WARM.temperature)
    assert (await sampled(WARM, TEXT, echo=True)).repetition_penalty == WARM.repetition_penalty


async def test_the_list_of_models_says_what_applies() -> None:
    door = ScriptedDoor()
    door.sampling_defaults = WARM
    async with open_api(door=door) as api, api.client() as client:
        listed = (await client.get("/v1/models", headers=api.key)).json()["data"]
    assert [model["default_parameters"] for model in listed] == [asdict(WARM)] * len(listed)


async def test_a_response_repeats_the_values_that_applied() -> None:
    door = ScriptedDoor()
    door.sampling_defaults = WARM
    async with open_api(door=door) as api, api.client() as client:
        answer = (await client.post(RESPONSES, headers=api.key, json=BODIES[RESPONSES])).json()
    assert (answer["temperature"], answer["top_p"]) == (WARM.temperature, WARM.top_p)


async def test_a_guest_s_request_takes_the_base_s_values_before_it_is_bought() -> None:
    bought: list[InferenceRequest] = []

    class Network:
        async def ask_as_guest(self, request: InferenceRequest, show: Any) -> dict[str, Any]:
            bought.append(request)
            return {}

    operator = SimpleNamespace(parts=SimpleNamespace(serving=SimpleNamespace(sampling_defaults=WARM)))
    async with trio.open_nursery() as nursery:
        app = build_operator(operator, Network(), nursery, pins=None, stop=list)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
            await client.post("/guest", json={**BODIES[CHAT], "top_k": 7})
    (request,) = bought
    assert (request.sampling.temperature, request.sampling.top_k) == (WARM.temperature, 7)
