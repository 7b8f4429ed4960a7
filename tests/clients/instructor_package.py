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


def _ask(mode):
    client = instructor.from_openai(OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0), mode=mode)
    return client.chat.completions.create(
        model=MODEL, messages=TURNS, max_tokens=512, temperature=0, response_model=City, max_retries=0
    )


def tool_call():
    assert isinstance(_ask(instructor.Mode.TOOLS), City)


def structured():
    assert isinstance(_ask(instructor.Mode.JSON_SCHEMA), City)


if __name__ == "__main__":
    main(globals())
