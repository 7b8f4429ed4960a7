"""Answers of OpenAI's endpoints as the OpenAPI document describes them; a test holds real answers against these."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class AnswerSchema(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(extra="forbid")


class TokenDetails(AnswerSchema):
    """Kinds of answer tokens."""

    reasoning_tokens: int


class TokenUsage(AnswerSchema):
    """Token counts of a request, as they are billed, and its cost to the caller, `null` if it is not known yet."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_wei: str | None
    completion_tokens_details: TokenDetails | None = None


class FunctionCall(AnswerSchema):
    """A function that the model calls."""

    name: str
    arguments: str


class AnsweredCall(AnswerSchema):
    """A tool call; the client runs it and sends its result with the id."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatAnswer(AnswerSchema):
    """The assistant's turn."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[AnsweredCall] | None = None


class ChatChoice(AnswerSchema):
    """One of the answers."""

    index: int
    message: ChatAnswer
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(AnswerSchema):
    """The whole answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage


class TextChoice(AnswerSchema):
    """One continuation."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(AnswerSchema):
    """The whole continuation of a text."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: TokenUsage


class Architecture(AnswerSchema):
    """A model's modalities, in OpenRouter's form."""

    modality: str
    input_modalities: list[str]
    output_modalities: list[str]


class Capabilities(AnswerSchema):
    """Abilities of a model on this node."""

    tools: bool
    parallel_tool_calls: bool
    json_schema: bool
    reasoning: bool
    logprobs: bool
    vision: bool


class Price(AnswerSchema):
    """The cheapest offer of the network."""

    unit: str
    prompt_wei: str
    completion_wei: str


class DefaultParameters(AnswerSchema):
    """Values that apply where a request has none."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float


class ModelCard(AnswerSchema):
    """One model that requests may name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str | None
    root: str
    context_length: int | None
    max_model_len: int | None
    architecture: Architecture
    capabilities: Capabilities
    supported_parameters: list[str]
    default_parameters: DefaultParameters | None
    location: Literal["here", "network"]
    price: Price | None = None


class ModelList(AnswerSchema):
    """All models, the base first."""

    object: Literal["list"]
    data: list[ModelCard]
