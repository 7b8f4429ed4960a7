# /// script
# requires-python = ">=3.11"
# dependencies = ["pydantic-ai-slim[openai]==2.38.0"]
# ///
"""pydantic-ai with its OpenAI model classes."""

import os

from driver import BASE_URL, KEY, MODEL, QUESTION, main
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

os.environ.setdefault("PYDANTIC_AI_DISABLE_UPDATE", "1")
provider = OpenAIProvider(base_url=BASE_URL, api_key=KEY)
model = OpenAIChatModel(MODEL, provider=provider)
SHORT = {"max_tokens": 96}


class City(BaseModel):
    city: str = Field(max_length=24)


def chat():
    assert Agent(model, model_settings={"max_tokens": 16}).run_sync(QUESTION).output


def stream():
    async def ask():
        async with Agent(model, model_settings={"max_tokens": 16}).run_stream(QUESTION) as answer:
            return "".join([text async for text in answer.stream_text(delta=True)])

    import asyncio

    assert asyncio.run(ask())


def tool_call():
    """Typed output in its default form, a tool that must be called."""
    assert isinstance(Agent(model, output_type=City, model_settings=SHORT).run_sync(QUESTION).output, City)


def structured():
    agent = Agent(model, output_type=NativeOutput(City), model_settings=SHORT)
    assert isinstance(agent.run_sync(QUESTION).output, City)


def responses():
    agent = Agent(OpenAIResponsesModel(MODEL, provider=provider), model_settings={"max_tokens": 16})
    assert agent.run_sync(QUESTION).output


if __name__ == "__main__":
    main(globals())
