# /// script
# requires-python = ">=3.11"
# dependencies = ["openai-agents==0.24.0"]
# ///
"""The OpenAI Agents SDK, which asks /v1/responses by default."""

import asyncio

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    set_tracing_disabled,
)
from driver import BASE_URL, KEY, MODEL, main
from openai import AsyncOpenAI

set_tracing_disabled(True)


def _run(model):
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    agent = Agent(
        name="test", model=model(MODEL, client), model_settings=ModelSettings(max_tokens=256, temperature=0)
    )
    return asyncio.run(Runner.run(agent, "Say hello.")).final_output


def chat():
    assert _run(OpenAIChatCompletionsModel)


def responses():
    assert _run(OpenAIResponsesModel)


if __name__ == "__main__":
    main(globals())
