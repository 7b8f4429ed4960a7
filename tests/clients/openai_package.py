# /// script
# requires-python = ">=3.11"
# dependencies = ["openai==3.3.0"]
# ///
"""The openai package."""

import json
from typing import Literal

from driver import BASE_URL, CITY, KEY, MODEL, QUESTION, WEATHER, check_fails, main
from openai import AuthenticationError, NotFoundError, OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
TURNS = [{"role": "user", "content": QUESTION}]


class City(BaseModel):
    city: Literal["Oslo", "Rome"]


def _ask(max_tokens, turns=TURNS, **more):
    return client.chat.completions.create(model=MODEL, messages=turns, max_tokens=max_tokens, temperature=0, **more)


def models():
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def chat():
    answer = _ask(16)
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


def stream():
    events = list(_ask(16, stream=True, stream_options={"include_usage": True}))
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert events[-1].usage.completion_tokens > 0


def completion():
    answer = client.completions.create(model=MODEL, prompt=["One, two,", "Red, green,"], max_tokens=8, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]


def several():
    answer = _ask(8, n=3, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def logprobs():
    answer = _ask(4, logprobs=True, top_logprobs=2)
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


def structured():
    answer = client.chat.completions.parse(
        model=MODEL, messages=TURNS, max_tokens=64, temperature=0, response_format=City
    )
    assert isinstance(answer.choices[0].message.parsed, City)


def tool_call():
    choice = _ask(512, tools=[WEATHER], tool_choice="required").choices[0]
    assert choice.finish_reason == "tool_calls"
    assert set(json.loads(choice.message.tool_calls[0].function.arguments)) == {"city"}


def tool_stream():
    named = {"type": "function", "function": {"name": "weather"}}
    with client.chat.completions.stream(
        model=MODEL, messages=TURNS, max_tokens=512, temperature=0, tools=[WEATHER], tool_choice=named
    ) as events:
        for _ in events:
            pass
        message = events.get_final_completion().choices[0].message
    assert set(json.loads(message.tool_calls[0].function.arguments)) == {"city"}


def tool_result():
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    turns = [
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain, 4 degrees."},
    ]
    assert _ask(24, turns, tools=[WEATHER]).choices[0].finish_reason in ("stop", "length", "tool_calls")


def responses():
    answer = client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=16, temperature=0)
    assert answer.output_text
    with client.responses.stream(model=MODEL, input=QUESTION, max_output_tokens=16, temperature=0) as events:
        kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")


def responses_tool():
    tool = {"type": "function", "name": "weather", "description": "Weather of a city.", "parameters": CITY}
    answer = client.responses.create(
        model=MODEL, input=QUESTION, tools=[tool], tool_choice="required", max_output_tokens=512, temperature=0
    )
    calls = [item for item in answer.output if item.type == "function_call"]
    assert set(json.loads(calls[0].arguments)) == {"city"}


def errors():
    stranger = OpenAI(base_url=BASE_URL, api_key="no", max_retries=0)
    check_fails(AuthenticationError, stranger.models.list)
    check_fails(NotFoundError, lambda: client.chat.completions.create(model="none", messages=TURNS))


if __name__ == "__main__":
    main(globals())
