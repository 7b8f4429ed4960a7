"""Bodies of OpenAI's two endpoints, with the fields that this node serves."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from openledger_protocol.errors import MalformedError

N_MAX = 16
"""The most answers to one request: each is a request of its own, with a place in the queue."""

Item = TypeVar("Item")
Listed = Annotated[list[Item], Field(fail_fast=True)]
"""A list that is read up to its first wrong item, because an error for each would take far more memory."""

# ---- What both endpoints share.


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool | None = None


class RequestBody(BaseModel):
    """Fields that both endpoints share. All but `model` may be null, which means "not given"."""

    model_config = ConfigDict(extra="allow")

    model: str
    max_tokens: Annotated[int | None, Field(ge=-1, description="The answer's ceiling; 0 and -1: not given")] = None
    max_completion_tokens: Annotated[int | None, Field(ge=-1, description="Newer name of max_tokens")] = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: Annotated[float | None, Field(description="llama.cpp's name of repetition_penalty")] = None
    response_format: dict[str, Any] | None = None
    guided_json: Annotated[dict[str, Any] | str | None, Field(description="vLLM's name of a JSON schema")] = None
    json_schema: Annotated[dict[str, Any] | None, Field(description="llama.cpp's name of a JSON schema")] = None
    structured_outputs: Annotated[dict[str, Any] | None, Field(description="vLLM's form of a schema")] = None
    seed: int | None = None
    stop: str | Listed[str] | None = None
    ignore_eos: Annotated[bool | None, Field(description="Go on to the ceiling, as benchmarks want it")] = None
    n: Annotated[int | None, Field(ge=1, le=N_MAX, description="Number of answers")] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def has_usage(self) -> bool:
        """True if a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


# ---- Chat


class ContentPart(BaseModel):
    """A part of a message: a text, or an assistant's refusal."""

    type: Annotated[str, Field(examples=["text"])]
    text: str | None = None
    refusal: str | None = None


class CalledFunction(BaseModel):
    """A function that the assistant called."""

    name: str
    arguments: Annotated[str, Field(description="JSON text of an object")] = ""


class MessageToolCall(BaseModel):
    """A tool call in an assistant's turn."""

    id: str
    type: str = "function"
    function: CalledFunction | None = None


class ChatMessage(BaseModel):
    """One message; its content is a text, or a list of text parts."""

    model_config = ConfigDict(extra="allow")

    role: Annotated[str, Field(json_schema_extra={"enum": ["system", "developer", "user", "assistant", "tool"]})]
    content: str | Listed[ContentPart] | None = None
    tool_calls: Annotated[Listed[MessageToolCall] | None, Field(description="Of an assistant's turn")] = None
    tool_call_id: Annotated[str | None, Field(description="Of a tool's turn: the call with this result")] = None


class FunctionSpec(BaseModel):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, Field(description="JSON schema of the arguments")] = None
    strict: bool | None = None


class ToolSpec(BaseModel):
    """A tool that the model may call."""

    type: Annotated[str, Field(json_schema_extra={"enum": ["function"]})]
    function: FunctionSpec | None = None


class ChatBody(RequestBody):
    """`POST /v1/chat/completions`."""

    messages: Listed[ChatMessage] = Field(min_length=1)
    continue_final_message: bool | None = None  # vLLM's name: the answer goes on after the assistant's last message
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: Listed[ToolSpec] | None = None
    tool_choice: Annotated[
        str | dict[str, Any] | None, Field(description="auto, none, required, or an object that names a function")
    ] = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Annotated[str | None, Field(description="none turns reasoning off")] = None
    reasoning: Annotated[dict[str, Any] | None, Field(description="OpenRouter's form: effort, or enabled")] = None
    thinking: Annotated[dict[str, Any] | None, Field(description="Anthropic's form: type enabled or disabled")] = None
    think: Annotated[bool | None, Field(description="Ollama's form")] = None
    enable_thinking: Annotated[bool | None, Field(description="Qwen's form")] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Field(description="vLLM's form: enable_thinking")] = None

    @property
    def num_logprobs(self) -> int | None:
        """Number of likeliest tokens to list beside each; None for no probabilities."""
        if self.top_logprobs and not self.logprobs:
            raise MalformedError("top_logprobs needs logprobs to be true", param="top_logprobs")
        return self.top_logprobs or 0 if self.logprobs else None


# ---- Completions


TOKEN_IDS_END = 1 << 31
"""Token ids are below this number."""

_TOKEN_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0, "exclusiveMaximum": TOKEN_IDS_END}}
PROMPT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        _TOKEN_IDS,
        {"type": "array", "items": _TOKEN_IDS},
    ],
}


class CompletionBody(RequestBody):
    """`POST /v1/completions`."""

    prompt: Annotated[
        str | list[Any],  # `completions.prompts_of` reads the items
        WithJsonSchema({**PROMPT_SCHEMA, "title": "Prompt"}),
        Field(description="One text or several, or their token ids"),
    ]
    logprobs: int | bool | None = None
    echo: Annotated[bool | None, Field(description="Begin each choice with its prompt")] = None

    @property
    def is_only_echo(self) -> bool:
        """True if the prompt alone is wanted, for its probabilities."""
        return bool(self.echo) and (self.max_completion_tokens or self.max_tokens) == 0

    @property
    def num_logprobs(self) -> int | None:
        """Number of likeliest tokens to list beside each; None for no probabilities."""
        return None if self.logprobs is None or self.logprobs is False else int(self.logprobs)
