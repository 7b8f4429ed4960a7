# /// script
# requires-python = ">=3.11"
# dependencies = ["pydantic-ai-slim[openai]==2.38.0"]
# ///
"""pydantic-ai with its OpenAI model classes."""

import asyncio
import os
from typing import Literal

from driver import BASE_URL, KEY, MODEL, QUESTION, check_fails, main
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

os.environ.setdefault("PYDANTIC_AI_DISABLE_UPDATE", "1")
SHORT = {"max_tokens": 512, "temperature": 0}


def _model(kind=OpenAIChatModel):
    """A model of its own for each run, since the client belongs to its event loop."""
    return kind(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key=KEY))


class City(BaseModel):
    city: Literal["Oslo", "Rome"]


def chat():
    assert Agent(_model(), model_settings={"max_tokens": 16, "temperature": 0}).run_sync(QUESTION).output


def stream():
    async def ask():
        agent = Agent(_model(), model_settings={"max_tokens": 16, "temperature": 0})
        async with agent.run_stream(QUESTION) as answer:
            return "".join([text async for text in answer.stream_text(delta=True)])

    assert asyncio.run(ask())


def tool_call():
    """Typed output in its default form, a tool that must be called."""
    assert isinstance(Agent(_model(), output_type=City, model_settings=SHORT).run_sync(QUESTION).output, City)


def tool_stream():
    async def ask():
        async with Agent(_model(), output_type=City, model_settings=SHORT).run_stream(QUESTION) as answer:
            return [city async for city in answer.stream_output()][-1]

    assert isinstance(asyncio.run(ask()), City)


def tool_result():
    turns = [
        ModelRequest(parts=[UserPromptPart("How is the weather in Oslo?")]),
        ModelResponse(parts=[ToolCallPart("weather", {"city": "Oslo"}, "call_1")]),
        ModelRequest(parts=[ToolReturnPart("weather", "rain", "call_1")]),
    ]
    agent = Agent(_model(), model_settings={"max_tokens": 16, "temperature": 0})
    assert agent.run_sync(message_history=turns).output


def structured():
    agent = Agent(_model(), output_type=NativeOutput(City), model_settings=SHORT)
    assert isinstance(agent.run_sync(QUESTION).output, City)


def responses_tool():
    agent = Agent(_model(OpenAIResponsesModel), output_type=City, model_settings=SHORT)
    assert isinstance(agent.run_sync(QUESTION).output, City)


def errors():
    model = OpenAIChatModel("none", provider=OpenAIProvider(base_url=BASE_URL, api_key=KEY))
    check_fails(ModelHTTPError, lambda: Agent(model).run_sync(QUESTION))


def responses():
    agent = Agent(_model(OpenAIResponsesModel), model_settings={"max_tokens": 16, "temperature": 0})
    assert agent.run_sync(QUESTION).output


if __name__ == "__main__":
    main(globals())
