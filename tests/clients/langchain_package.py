# /// script
# requires-python = ">=3.11"
# dependencies = ["langchain-openai==1.7.4"]
# ///
"""langchain-openai."""

from typing import Literal

from driver import BASE_URL, CITY, KEY, MODEL, QUESTION, check_fails, main
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI
from openai import AuthenticationError, NotFoundError
from pydantic import BaseModel

settings = {"model": MODEL, "base_url": BASE_URL, "api_key": KEY, "max_retries": 0}
model = ChatOpenAI(**settings, max_tokens=16, temperature=0)
longer = ChatOpenAI(**settings, max_tokens=512, temperature=0)
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": CITY}}


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
    whole = None
    for chunk in longer.bind_tools([WEATHER], tool_choice="any").stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert set(whole.tool_calls[0]["args"]) == {"city"}


def tool_result():
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1", "type": "tool_call"}
    turns = [
        HumanMessage("How is the weather in Oslo?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Rain", tool_call_id="call_1"),
    ]
    assert model.bind_tools([WEATHER]).invoke(turns).response_metadata["finish_reason"]


def several():
    generations = ChatOpenAI(**settings, max_tokens=8, n=2, temperature=1).generate([[HumanMessage(QUESTION)]])
    assert len(generations.generations[0]) == 2


def logprobs():
    answer = ChatOpenAI(**settings, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2).invoke(QUESTION)
    assert len(answer.response_metadata["logprobs"]["content"][0]["top_logprobs"]) == 2


def responses():
    assert ChatOpenAI(**settings, max_tokens=16, temperature=0, use_responses_api=True).invoke(QUESTION).content


def responses_tool():
    asked = ChatOpenAI(**settings, max_tokens=512, temperature=0, use_responses_api=True)
    assert set(asked.bind_tools([WEATHER], tool_choice="required").invoke(QUESTION).tool_calls[0]["args"]) == {"city"}


def errors():
    check_fails(AuthenticationError, lambda: ChatOpenAI(**{**settings, "api_key": "no"}).invoke(QUESTION))
    check_fails(NotFoundError, lambda: ChatOpenAI(**{**settings, "model": "none"}).invoke(QUESTION))


if __name__ == "__main__":
    main(globals())
