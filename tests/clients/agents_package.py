# /// script
# requires-python = ">=3.11"
# dependencies = ["openai-agents==0.24.0"]
# ///
"""The OpenAI Agents SDK, which asks /v1/responses by default."""

import asyncio
from typing import Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from driver import BASE_URL, KEY, MODEL, main
from openai import AsyncOpenAI

set_tracing_disabled(True)


def _agent(model, **settings):
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    return Agent(name="test", model=model(MODEL, client), **settings)


def _run(model):
    agent = _agent(model, model_settings=ModelSettings(max_tokens=256, temperature=0))
    return asyncio.run(Runner.run(agent, "Say hello.")).final_output


def _cities(model):
    """The cities that a forced call of a tool names; the call ends the run."""
    cities = []

    @function_tool
    def weather(city: Literal["Oslo", "Rome"]) -> str:
        """Tell the weather of a city."""
        cities.append(city)
        return "rain"

    settings = ModelSettings(max_tokens=512, temperature=0, tool_choice="required")
    agent = _agent(model, model_settings=settings, tools=[weather], tool_use_behavior="stop_on_first_tool")
    asyncio.run(Runner.run(agent, "How is the weather?"))
    return cities


def chat():
    assert _run(OpenAIChatCompletionsModel)


def stream():
    async def texts():
        ran = Runner.run_streamed(_agent(OpenAIChatCompletionsModel), "Say hello.")
        events = [event.data async for event in ran.stream_events() if event.type == "raw_response_event"]
        return [event.delta for event in events if event.type == "response.output_text.delta"]

    assert "".join(asyncio.run(texts()))


def tool_call():
    assert _cities(OpenAIChatCompletionsModel)


def responses_tool():
    assert _cities(OpenAIResponsesModel)


def responses():
    assert _run(OpenAIResponsesModel)


if __name__ == "__main__":
    main(globals())
