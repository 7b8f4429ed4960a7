# /// script
# requires-python = ">=3.11"
# dependencies = ["instructor==1.17.0"]
# ///
"""instructor over the openai package."""

from typing import Literal

import instructor
from driver import BASE_URL, KEY, MODEL, QUESTION, main
from openai import OpenAI
from pydantic import BaseModel, ConfigDict

TURNS = [{"role": "user", "content": QUESTION}]


class City(BaseModel):
    model_config = ConfigDict(extra="forbid")  # the schema else allows more names, and a small model writes them
    city: Literal["Oslo", "Rome"]


ASKED = {"model": MODEL, "messages": TURNS, "temperature": 0, "max_retries": 0}


def _client(mode):
    return instructor.from_openai(OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0), mode=mode)


def _ask(mode):
    return _client(mode).chat.completions.create(**ASKED, max_tokens=512, response_model=City)


def chat():
    """An answer without a model of the output, which instructor passes on."""
    answer = _client(instructor.Mode.TOOLS).chat.completions.create(**ASKED, max_tokens=16, response_model=None)
    assert answer.choices[0].message.content


def stream():
    """The object as it grows."""
    client = _client(instructor.Mode.JSON_SCHEMA)
    grown = list(client.chat.completions.create_partial(**ASKED, max_tokens=512, response_model=City))
    assert grown[-1].city in ("Oslo", "Rome")


def tool_stream():
    client = _client(instructor.Mode.TOOLS)
    grown = list(client.chat.completions.create_partial(**ASKED, max_tokens=512, response_model=City))
    assert grown[-1].city in ("Oslo", "Rome")


def tool_call():
    assert isinstance(_ask(instructor.Mode.TOOLS), City)


def structured():
    assert isinstance(_ask(instructor.Mode.JSON_SCHEMA), City)


if __name__ == "__main__":
    main(globals())
