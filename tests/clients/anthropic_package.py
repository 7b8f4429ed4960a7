# /// script
# requires-python = ">=3.11"
# dependencies = ["anthropic==2.14.0"]
# ///
"""The anthropic package."""

from anthropic import Anthropic, AuthenticationError, NotFoundError
from driver import CITY, KEY, MODEL, QUESTION, URL, check_fails, main

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
GREEDY = {"temperature": 0}  # no parameter of this package any more
TURNS = [{"role": "user", "content": QUESTION}]
TOOL = {"name": "weather", "description": "Weather of a city.", "input_schema": CITY}


def chat():
    answer = client.messages.create(model=MODEL, max_tokens=16, extra_body=GREEDY, system="Be short.", messages=TURNS)
    assert answer.content[0].text
    assert answer.usage.output_tokens > 0


def stream():
    with client.messages.stream(model=MODEL, max_tokens=16, extra_body=GREEDY, messages=TURNS) as events:
        text = "".join(events.text_stream)
        assert text == events.get_final_message().content[0].text
    assert text


def count():
    assert client.messages.count_tokens(model=MODEL, messages=TURNS).input_tokens > 3


def tool_call():
    answer = client.messages.create(
        model=MODEL, max_tokens=512, extra_body=GREEDY, messages=TURNS, tools=[TOOL], tool_choice={"type": "any"}
    )
    assert answer.stop_reason == "tool_use"
    assert set(answer.content[-1].input) == {"city"}


def tool_stream():
    choice = {"type": "tool", "name": "weather"}
    with client.messages.stream(
        model=MODEL, max_tokens=512, extra_body=GREEDY, messages=TURNS, tools=[TOOL], tool_choice=choice
    ) as events:
        answer = events.get_final_message()
    assert set(answer.content[-1].input) == {"city"}


def tool_result():
    call = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "Rain"}
    turns = [*TURNS, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    asked = {"model": MODEL, "max_tokens": 16, "extra_body": GREEDY, "messages": turns, "tools": [TOOL]}
    assert client.messages.create(**asked).stop_reason


def errors():
    asked = {"model": "none", "max_tokens": 4, "extra_body": GREEDY, "messages": TURNS}
    stranger = Anthropic(base_url=URL, api_key="no", max_retries=0)
    check_fails(AuthenticationError, lambda: stranger.messages.create(**asked))
    check_fails(NotFoundError, lambda: client.messages.create(**asked))


if __name__ == "__main__":
    main(globals())
