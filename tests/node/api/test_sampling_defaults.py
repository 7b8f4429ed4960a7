"""Sampling fields that a client leaves out take the base's values, in each dialect."""

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
from node.api.scripted_door import ScriptedDoor
from support.apis import open_api

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


async def sampled(path: str, *bodies: dict[str, Any]) -> list[SamplingDefaults]:
    """The sampling of the request that each body becomes, on a base with values of its own."""
    door = ScriptedDoor()
    door.sampling_defaults = WARM
    async with open_api(door=door) as api, api.client() as client:
        for body in bodies:
            answer = await client.post(path, headers=api.key, json={**BODIES[path], **body})
            assert answer.status_code == 200, answer.text
            assert path != RESPONSES or answer.json()["temperature"] == door.requests[-1].sampling.temperature
        listed = (await client.get("/v1/models", headers=api.key)).json()["data"]
    assert [model["default_parameters"] for model in listed] == [asdict(WARM)] * len(listed)
    return [
        SamplingDefaults(**{name: getattr(request.sampling, name) for name in asdict(NEUTRAL)})
        for request in door.requests
    ]


@pytest.mark.parametrize("path", BODIES)
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
            await client.post("/guest", json={**BODIES[CHAT], "top_k": 7})
    (request,) = bought
    assert (request.sampling.temperature, request.sampling.top_k) == (WARM.temperature, 7)
