# /// script
# requires-python = ">=3.11"
# dependencies = ["langchain-openai==1.7.4"]
# ///
"""langchain-openai."""

from typing import Literal

from driver import BASE_URL, CITY, KEY, MODEL, QUESTION, main
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

settings = {"model": MODEL, "base_url": BASE_URL, "api_key": KEY, "max_retries": 0}
model = ChatOpenAI(**settings, max_tokens=16, temperature=0)
longer = ChatOpenAI(**settings, max_tokens=512, temperature=0)


class City(BaseModel):
    """A city."""

    city: Literal["Oslo", "Rome"]


def chat():
    assert model.invoke(QUESTION).content


def stream():
    assert "".join(chunk.content for chunk in model.stream(QUESTION))


def completion():
    answers = OpenAI(**settings, max_tokens=8, temperature=0).batch(["One, two,", "Red, green,"])
    assert len(answers) == 2


def structured():
    assert isinstance(longer.with_structured_output(City, method="json_schema").invoke(QUESTION), City)


def tool_call():
    assert isinstance(longer.with_structured_output(City, method="function_calling").invoke(QUESTION), City)


def tool_stream():
    tool = {"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": CITY}}
    whole = None
    for chunk in longer.bind_tools([tool], tool_choice="any").stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert set(whole.tool_calls[0]["args"]) == {"city"}


def responses():
    assert ChatOpenAI(**settings, max_tokens=16, temperature=0, use_responses_api=True).invoke(QUESTION).content


if __name__ == "__main__":
    main(globals())
