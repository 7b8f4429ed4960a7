# /// script
# requires-python = ">=3.11"
# dependencies = ["llama-index-llms-openai-like==0.8.1"]
# ///
"""llama-index with OpenAILike."""

from typing import Literal

from driver import BASE_URL, KEY, MODEL, QUESTION, main
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

settings = {"model": MODEL, "api_base": BASE_URL, "api_key": KEY, "max_retries": 0, "is_chat_model": True}
model = OpenAILike(**settings, max_tokens=16, temperature=0)


class City(BaseModel):
    """A city."""

    city: Literal["Oslo", "Rome"]


def chat():
    assert model.chat([ChatMessage(role="user", content=QUESTION)]).message.content


def stream():
    assert [part.delta for part in model.stream_chat([ChatMessage(role="user", content=QUESTION)])]


def completion():
    asked = OpenAILike(**{**settings, "is_chat_model": False}, max_tokens=8, temperature=0)
    assert asked.complete("One, two,").text


def structured():
    caller = OpenAILike(**settings, max_tokens=64, temperature=0, should_use_structured_outputs=True)
    assert caller.as_structured_llm(City).chat([ChatMessage(role="user", content=QUESTION)]).raw.city


def tool_call():
    def weather(city: Literal["Oslo", "Rome"]) -> str:
        """Tell the weather of a city."""
        return city

    caller = OpenAILike(**settings, max_tokens=512, temperature=0, is_function_calling_model=True)
    answer = caller.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg=QUESTION, tool_choice="required")
    assert answer.message.additional_kwargs.get("tool_calls")


if __name__ == "__main__":
    main(globals())
