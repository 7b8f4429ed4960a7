# /// script
# requires-python = ">=3.11"
# dependencies = ["litellm==1.110.2"]
# ///
"""litellm with the providers `openai/` and `anthropic/`."""

import json

import litellm
from driver import BASE_URL, CITY, KEY, MODEL, QUESTION, URL, WEATHER, check_fails, main

TURNS = [{"role": "user", "content": QUESTION}]
COMMON = {"api_key": KEY, "num_retries": 0}
OPENAI = {"model": f"openai/{MODEL}", "api_base": BASE_URL, **COMMON}


def chat():
    assert litellm.completion(**OPENAI, messages=TURNS, max_tokens=16, temperature=0).choices[0].message.content


def stream():
    events = litellm.completion(**OPENAI, messages=TURNS, max_tokens=16, temperature=0, stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in events)


def tool_call():
    answer = litellm.completion(
        **OPENAI, messages=TURNS, max_tokens=512, temperature=0, tools=[WEATHER], tool_choice="required"
    )
    assert set(json.loads(answer.choices[0].message.tool_calls[0].function.arguments)) == {"city"}


def completion():
    asked = {**OPENAI, "model": f"text-completion-openai/{MODEL}"}
    assert litellm.text_completion(**asked, prompt="One, two,", max_tokens=8, temperature=0).choices[0].text


def structured():
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = litellm.completion(**OPENAI, messages=TURNS, max_tokens=64, temperature=0, response_format=form)
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}


def tool_stream():
    asked = {"max_tokens": 512, "temperature": 0, "tools": [WEATHER], "tool_choice": "required"}
    events = list(litellm.completion(**OPENAI, messages=TURNS, stream=True, **asked))
    calls = litellm.stream_chunk_builder(events).choices[0].message.tool_calls
    assert set(json.loads(calls[0].function.arguments)) == {"city"}


def tool_result():
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    turns = [
        *TURNS,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain"},
    ]
    answer = litellm.completion(**OPENAI, messages=turns, max_tokens=16, temperature=0, tools=[WEATHER])
    assert answer.choices[0].finish_reason


def several():
    assert len(litellm.completion(**OPENAI, messages=TURNS, max_tokens=8, temperature=1, n=2).choices) == 2


def logprobs():
    asked = {"max_tokens": 4, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    answer = litellm.completion(**OPENAI, messages=TURNS, **asked)
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


def responses_tool():
    tool = {"type": "function", "name": "weather", "description": "Weather of a city.", "parameters": CITY}
    asked = {"tools": [tool], "tool_choice": "required", "max_output_tokens": 512, "temperature": 0}
    items = litellm.responses(**OPENAI, input=QUESTION, **asked).output
    calls = [item for item in items if item.type == "function_call"]
    assert set(json.loads(calls[0].arguments)) == {"city"}


def responses():
    assert litellm.responses(**OPENAI, input=QUESTION, max_output_tokens=16, temperature=0).output


def messages():
    asked = {"model": f"anthropic/{MODEL}", "api_base": URL, **COMMON}
    assert litellm.completion(**asked, messages=TURNS, max_tokens=16, temperature=0).choices[0].message.content


def errors():
    unknown = {**OPENAI, "model": "openai/none"}
    check_fails(
        litellm.AuthenticationError, lambda: litellm.completion(**{**OPENAI, "api_key": "no"}, messages=TURNS)
    )
    check_fails(litellm.NotFoundError, lambda: litellm.completion(**unknown, messages=TURNS))


if __name__ == "__main__":
    main(globals())
