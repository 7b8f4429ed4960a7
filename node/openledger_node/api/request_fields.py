"""Fields of a request that all dialects share: read into protocol types, refused by name, or known to be harmless.

A field that would change the answer and that this node cannot honour is refused by name, since ignoring it would give
another answer than the one requested. A name that differs from a served one by a slip is refused too. All other
unknown fields are ignored: programs send fields of their own, and other servers ignore them as well.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar

from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import InferenceRequest, SamplingParams, check_sampling
from openledger_protocol.primitives import check_text

from ..models.sampling_defaults import SamplingDefaults
from .exchange import draw_request_id
from .schemas import RequestBody

DEFAULT_MAX_TOKENS = 4096
"""The answer's length if the request names none; less if the prompt leaves less room."""

NOT_GIVEN = (None, 0, -1)
"""Values of `max_tokens` with which front ends say "no limit of mine"."""

ANY_OBJECT = '{"type":"object"}'
"""The schema of `response_format: json_object`."""

Value = TypeVar("Value")

UINT64 = (1 << 64) - 1
SLIP = 0.85
"""Similarity from which an unknown name is taken for a slip of a known one."""

COMPARED_MAX = 32
"""The most unknown names that are compared with the known ones, which takes time for each."""

# ---- Fields that are not served.


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A field that this node does not serve: the values without an effect, and what to send instead."""

    neutral: tuple[object, ...] = (None,)
    advice: str = ""


_AS_SCHEMA = "send a JSON schema as response_format"
_AS_TOOLS = "functions are tools now, so send tools and tool_choice"
_AS_EFFORT = "send reasoning_effort"

UNSUPPORTED: Mapping[str, Unsupported] = {
    # OpenAI's
    "audio": Unsupported(advice="answers are text"),
    "best_of": Unsupported((None, 1), "send n, and choose yourself"),
    "echo": Unsupported((None, False)),
    "function_call": Unsupported((None, "none"), _AS_TOOLS),
    "functions": Unsupported((None, []), _AS_TOOLS),
    "logit_bias": Unsupported((None, {})),
    "modalities": Unsupported((None, ["text"]), "answers are text"),
    "prediction": Unsupported(),
    "suffix": Unsupported((None, "")),
    "web_search_options": Unsupported(advice="offer a tool that searches"),
    # vLLM's
    "add_generation_prompt": Unsupported((None, True)),
    "add_special_tokens": Unsupported(),
    "allowed_token_ids": Unsupported((None, [])),
    "bad_words": Unsupported((None, [])),
    "chat_template": Unsupported(advice="the base's own template is used, so that every node renders alike"),
    "documents": Unsupported((None, []), "put them into a message"),
    "guided_choice": Unsupported(advice=_AS_SCHEMA),
    "guided_grammar": Unsupported(advice=_AS_SCHEMA),
    "guided_regex": Unsupported(advice=_AS_SCHEMA),
    "include_stop_str_in_output": Unsupported((None, False)),
    "length_penalty": Unsupported((None, 1)),
    "logits_processors": Unsupported((None, [])),
    "min_tokens": Unsupported((None, 0)),
    "mm_processor_kwargs": Unsupported((None, {})),
    "prompt_logprobs": Unsupported((None, False)),
    "return_token_ids": Unsupported((None, False)),
    "return_tokens_as_token_ids": Unsupported((None, False)),
    "skip_special_tokens": Unsupported((None, True)),
    "spaces_between_special_tokens": Unsupported((None, True)),
    "stop_token_ids": Unsupported((None, []), "send their text as stop"),
    "structural_tag": Unsupported(advice=_AS_SCHEMA),
    "truncate_prompt_tokens": Unsupported((None, -1), "shorten the prompt"),
    "use_beam_search": Unsupported((None, False)),
    # llama.cpp's and its front ends'
    "dry_multiplier": Unsupported((None, 0)),
    "dynatemp_range": Unsupported((None, 0)),
    "grammar": Unsupported((None, ""), _AS_SCHEMA),
    "lora": Unsupported((None, []), "name an adapter as model"),
    "mirostat": Unsupported((None, 0)),
    "n_predict": Unsupported((None, -1), "send max_tokens"),
    "n_probs": Unsupported((None, 0), "send logprobs"),
    "reasoning_budget": Unsupported((None, -1), _AS_EFFORT),
    "reasoning_format": Unsupported((None, "auto"), "reasoning comes as reasoning_content"),
    "samplers": Unsupported((None, [])),
    "tfs_z": Unsupported((None, 1)),
    "top_a": Unsupported((None, 0)),
    "top_n_sigma": Unsupported((None, -1, 0)),
    "typical_p": Unsupported((None, 1)),
    "xtc_probability": Unsupported((None, 0)),
    # OpenRouter's and other hosts'
    "include_reasoning": Unsupported((None, True)),
    "plugins": Unsupported((None, [])),
    "thinking_budget": Unsupported(advice=_AS_EFFORT),
    "transforms": Unsupported((None, [])),
}
"""Fields that are refused by name, unless they have a value without an effect."""

HARMLESS: Mapping[str, str] = {
    "cache_prompt": "the engine shares the beginnings of prompts by itself",
    "cache_salt": "the engine's cache is this node's own",
    "guided_decoding_backend": "a schema means the same in each",
    "id_slot": "the engine places requests itself",
    "keep_alive": "`[inference]` says when the engine unloads",
    "metadata": "nothing is stored",
    "models": "a list of fallbacks; `model` counts",
    "moderation": "no answer is moderated",
    "num_batch": "`[inference]` has the settings of the engine",
    "num_ctx": "`[inference] context_max` counts",
    "num_gpu": "`[inference]` has the settings of the engine",
    "num_keep": "a prompt that is too long is refused, and never shortened",
    "num_thread": "`[inference] threads` counts",
    "priority": "requests run in turn",
    "prompt_cache_key": "the engine finds shared beginnings by itself",
    "prompt_cache_options": "the same",
    "prompt_cache_retention": "the same",
    "provider": "the market chooses the node",
    "request_id": "the node draws its own",
    "route": "the market chooses the node",
    "safety_identifier": "the node passes no user names on",
    "service_tier": "there is one",
    "session_id": "requests have no memory",
    "store": "nothing is stored",
    "timings_per_token": "`usage` and the metrics have the figures",
    "usage": "it is in every answer, and in a stream by `stream_options`",
    "use_mlock": "`[inference]` has the settings of the engine",
    "use_mmap": "`[inference]` has the settings of the engine",
    "user": "the node passes no user names on",
    "verbosity": "a hint that open models do not know",
}
"""Fields that do not change the answer, with the reason; they are ignored."""


def refuse_unsupported(extra: Mapping[str, Any], served: Iterable[str]) -> None:
    """Refuse fields that would change the answer, and slips of served names.

    Raises:
        MalformedError: it names the field.
    """
    for name in filter(UNSUPPORTED.__contains__, extra):
        known, value = UNSUPPORTED[name], extra[name]
        if not any(type(value) is type(one) and value == one for one in _spelled(known.neutral)):
            advice = f": {known.advice}" if known.advice else ""
            raise MalformedError(f"{name!r} is not supported by this node{advice}", param=name)
    names = list(served)
    unknown = (name for name in extra if name not in UNSUPPORTED and name not in HARMLESS)
    for name in islice(unknown, COMPARED_MAX):
        if near := get_close_matches(name, names, 1, SLIP):
            raise MalformedError(f"{name!r} is no field of a request: did you mean {near[0]!r}?", param=name)


def _spelled(neutral: tuple[object, ...]) -> tuple[object, ...]:
    """Neutral values, whole numbers as floats too: JSON has one kind of number."""
    return (*neutral, *(float(one) for one in neutral if type(one) is int))


# ---- Fields that are served.


def request_from_fields(
    body: RequestBody, prompt: Any, *, seed: int, defaults: SamplingDefaults, num_logprobs: int | None, **more: Any
) -> InferenceRequest:
    """Build the request of a body whose prompt, or conversation, is read already.

    `seed` and `defaults` apply where the body has nothing; `more` are further fields of the request.

    Raises:
        MalformedError: a field is out of bounds, or not served.
    """
    refuse_unsupported(body.model_extra or {}, type(body).model_fields)
    sampling = SamplingParams(
        max_tokens=max_tokens(body),
        seed=(seed if body.seed is None else body.seed) & UINT64,
        temperature=given(body.temperature, defaults.temperature),
        top_p=given(body.top_p, defaults.top_p),
        top_k=max(given(body.top_k, defaults.top_k), 0),  # -1 is a common way to say "off"
        min_p=given(body.min_p, defaults.min_p),
        stop=stop_strings(body.stop),
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        repetition_penalty=given(body.repetition_penalty, given(body.repeat_penalty, defaults.repetition_penalty)),
        logprobs=num_logprobs,
        json_schema=json_schema(body),
    )
    return InferenceRequest(
        request_id=draw_request_id(),
        model=check_text(body.model),
        prompt=prompt,
        sampling=check_sampling(likeliest_if_zero(sampling)),
        ignores_end=bool(body.ignore_eos),
        **more,
    )


def given(value: Value | None, default: Value) -> Value:
    """The value of a field, or the default if the request leaves it out."""
    return default if value is None else value


def requests_of(request: InferenceRequest, n: int | None) -> list[InferenceRequest]:
    """The requests for `n` answers: each has its own id, and the seeds count up from the request's own."""
    others = range(1, n or 1)
    return [request, *(_with_seed(request, request.sampling.seed + index) for index in others)]


def likeliest_if_zero(sampling: SamplingParams) -> SamplingParams:
    """Read `top_p: 0` as other servers do: only the likeliest token is left."""
    return replace(sampling, top_p=1.0, top_k=1) if sampling.top_p == 0 else sampling


def max_tokens(body: RequestBody) -> int:
    """The ceiling of the answer."""
    given = (each for each in (body.max_completion_tokens, body.max_tokens) if each not in NOT_GIVEN)
    return next(given, None) or DEFAULT_MAX_TOKENS


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    """The stop strings; front ends send empty ones for "none"."""
    listed = [stop] if isinstance(stop, str) else stop or []
    return tuple(text for text in listed if text)


def json_schema(body: RequestBody) -> str | None:
    """The schema of the answer, with the order of its keys kept.

    Raises:
        MalformedError: it has no known form, or there are two.
    """
    found = {
        "response_format": _response_schema(body.response_format),
        "guided_json": _schema_text(body.guided_json, "guided_json"),
        "json_schema": _schema_text(body.json_schema, "json_schema"),
        "structured_outputs": _structured_schema(body.structured_outputs),
    }
    given = {name: schema for name, schema in found.items() if schema is not None}
    if len(given) > 1:
        raise MalformedError(f"{' and '.join(given)} ask for a schema each: send one of them", param=max(given))
    return next(iter(given.values()), None)


def compact_json(value: object) -> str:
    """JSON without spaces, its keys in their own order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def check_writable(value: object) -> None:
    """Require that a value can be written as JSON again.

    The parser takes lone surrogates and numbers that are not finite, such as `1e999`.

    Raises:
        ValueError: it has one of them.
    """
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _with_seed(request: InferenceRequest, seed: int) -> InferenceRequest:
    return replace(request, request_id=draw_request_id(), sampling=replace(request.sampling, seed=seed & UINT64))


def _response_schema(response_format: dict[str, Any] | None) -> str | None:
    """The schema of a response format, in OpenAI's form or the shorter ones of llama.cpp, Together and Fireworks."""
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return compact_json(schema)
        case {"type": "json_schema" | "json_object", "schema": dict(schema)}:
            return compact_json(schema)
        case {"type": "json_object"} if response_format.get("schema") is None:
            return ANY_OBJECT
    raise MalformedError(
        "response_format must be text, json_object, or json_schema with a schema in it", param="response_format"
    )


def _structured_schema(outputs: dict[str, Any] | None) -> str | None:
    """The schema in vLLM's `structured_outputs`."""
    given = {name: value for name, value in (outputs or {}).items() if value is not None and value is not False}
    match given:
        case {"json": schema, **others} if not others:
            return _schema_text(schema, "structured_outputs")
        case {"json_object": True, **others} if not others:
            return ANY_OBJECT
    if given:
        raise MalformedError(
            f"structured_outputs takes json or json_object here, not {', '.join(map(repr, given))}: {_AS_SCHEMA}",
            param="structured_outputs",
        )
    return None


def _schema_text(schema: object, param: str) -> str | None:
    """A schema as JSON text; vLLM also takes it as text."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"{param} must be a JSON schema", param=param) from error
    if schema is None:
        return None
    if not isinstance(schema, dict):
        raise MalformedError(f"{param} must be a JSON schema, which is an object", param=param)
    return compact_json(schema)
