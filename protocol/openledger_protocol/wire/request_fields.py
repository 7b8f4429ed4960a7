"""The fields of a request that an engine answers: its texts, its tools and its sampling."""

from typing import get_args

from ..constants import (
    JSON_SCHEMA_BYTES_MAX,
    STOP_STRING_LENGTH_MAX,
    STOP_STRINGS_MAX,
    TOOL_CALL_ID_LENGTH_MAX,
    TOOL_DESCRIPTION_LENGTH_MAX,
    TOOL_NAME_LENGTH_MAX,
    TOOLS_MAX,
)
from ..inference import (
    Message,
    Role,
    SamplingParams,
    Tool,
    ToolCall,
    ToolChoice,
    Tooling,
    check_messages,
    check_sampling,
    check_tooling,
)
from .fields import BOOL, NUMBER, Field, choice, growing, listed, record, text, uint

MESSAGES_MAX = 1_024
TEXT_LENGTH_MAX = 1 << 20
"""The maximum length of one text; the frame's own cap bounds them all together."""


def prompt_field() -> Field:
    """A conversation, or a raw text to continue."""
    call = record(
        ToolCall,
        id=text(TOOL_CALL_ID_LENGTH_MAX),
        name=text(TOOL_NAME_LENGTH_MAX),
        arguments=text(TEXT_LENGTH_MAX),
    )
    turn = growing(
        Message,
        {"tool_calls": listed(call, length_max=TOOLS_MAX), "tool_call_id": text(TOOL_CALL_ID_LENGTH_MAX)},
        role=choice(*get_args(Role)),
        content=text(TEXT_LENGTH_MAX),
    )
    turns = listed(turn, length_min=1, length_max=MESSAGES_MAX)
    raw = text(TEXT_LENGTH_MAX)
    return Field(
        lambda prompt: prompt if isinstance(prompt, str) else turns.write(prompt),
        lambda value: raw.read(value) if isinstance(value, str) else check_messages(turns.read(value)),
    )


def tooling_field() -> Field:
    """The tools that an answer may call."""
    tool = growing(
        Tool,
        {},
        is_strict=True,
        name=text(TOOL_NAME_LENGTH_MAX),
        description=text(TOOL_DESCRIPTION_LENGTH_MAX),
        parameters=text(JSON_SCHEMA_BYTES_MAX),
    )
    tooling = growing(
        Tooling,
        {"choice": choice(*get_args(ToolChoice)), "name": text(TOOL_NAME_LENGTH_MAX), "parallel": BOOL},
        is_strict=True,
        tools=listed(tool, length_min=1, length_max=TOOLS_MAX),
    )
    return Field(tooling.write, lambda value: check_tooling(tooling.read(value)))


def sampling_field() -> Field:
    """The parameters of sampling; unknown ones are refused, because they might change the answer."""
    sampling = growing(
        SamplingParams,
        {
            "frequency_penalty": NUMBER,
            "presence_penalty": NUMBER,
            "repetition_penalty": NUMBER,
            "logprobs": uint(8),
            "json_schema": text(JSON_SCHEMA_BYTES_MAX),
        },
        is_strict=True,
        max_tokens=uint(32),
        seed=uint(64),
        temperature=NUMBER,
        top_p=NUMBER,
        top_k=uint(31),
        min_p=NUMBER,
        stop=listed(text(STOP_STRING_LENGTH_MAX), length_max=STOP_STRINGS_MAX),
    )
    return Field(sampling.write, lambda value: check_sampling(sampling.read(value)))
