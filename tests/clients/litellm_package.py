# /// script
# requires-python = ">=3.11"
# dependencies = ["litellm==1.110.2"]
# ///
"""litellm with the providers `openai/` and `anthropic/`."""

import json

import litellm
from driver import BASE_URL, KEY, MODEL, QUESTION, URL, WEATHER, main

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


def responses():
    assert litellm.responses(**OPENAI, input=QUESTION, max_output_tokens=16, temperature=0).output


def messages():
    asked = {"model": f"anthropic/{MODEL}", "api_base": URL, **COMMON}
    assert litellm.completion(**asked, messages=TURNS, max_tokens=16, temperature=0).choices[0].message.content


def errors():
    try:
        litellm.completion(**{**OPENAI, "api_key": "no"}, messages=TURNS)
    except litellm.AuthenticationError:
        return
    raise AssertionError("no AuthenticationError")


if __name__ == "__main__":
    main(globals())
