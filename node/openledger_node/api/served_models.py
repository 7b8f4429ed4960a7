"""`/v1/models`: the list of models, with what each can do, in the names that programs look for.

Open WebUI, LangChain and `llm` read `id`. Zed, Cline and LiteLLM read the context, vLLM's `max_model_len` or
OpenRouter's `context_length`. OpenRouter's form also has the modalities, and the parameters with their defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openledger_protocol.inference import ServedModel

from ..models.sampling_defaults import SamplingDefaults

OWNER = "openledger-node"

PARAMETERS = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "response_format",
    "structured_outputs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)
"""Parameters of every model, by OpenRouter's names."""

HERE_ONLY = ("logprobs", "top_logprobs")
"""Parameters that only this machine's own engine serves."""

REASONING = ("reasoning", "include_reasoning")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTraits:
    """Traits that a base shares with all its adapters."""

    can_reason: bool
    sampling: SamplingDefaults


def models_response(models: Sequence[ServedModel], *, base: BaseTraits) -> dict[str, Any]:
    """The body of `GET /v1/models`, where each name is unique."""
    return {"object": "list", "data": [model_response(model, base=base) for model in models]}


def model_response(model: ServedModel, *, base: BaseTraits) -> dict[str, Any]:
    """One entry of the list. Prices are not in OpenRouter's `pricing`, which is in dollars."""
    is_here = model.terms is None
    parameters = [*PARAMETERS, *(HERE_ONLY if is_here else ()), *(REASONING if base.can_reason else ())]
    entry: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": model.created_s,
        "owned_by": OWNER,
        "parent": model.parent,
        "root": model.parent or model.name,
        "context_length": model.context_max,
        "max_model_len": model.context_max,
        "architecture": {"modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"]},
        "capabilities": {
            "tools": True,
            "parallel_tool_calls": True,
            "json_schema": True,
            "reasoning": base.can_reason,
            "logprobs": is_here,
            "vision": False,
        },
        "supported_parameters": parameters,
        "default_parameters": base.sampling.to_plain(),
        "location": "here" if is_here else "network",
    }
    if terms := model.terms:
        entry["price"] = {
            "unit": "wei per 1,000 tokens",
            "prompt_wei": str(terms.price_in_wei),
            "completion_wei": str(terms.price_out_wei),
        }
    return entry
