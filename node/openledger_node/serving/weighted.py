"""Weighted sets of adapters: several added together on one base, only for this machine's own requests.

A receipt names one adapter, so a paid request can use only one.
"""

from math import isfinite

from openledger_protocol.codec import canonical_digest
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import InferenceRequest
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterPart, AdapterSource
from ..models.adapters import FindAdapter

WEIGHTED_SCHEMA = "openledger.weighted_set/1"

PARTS_MAX = 8
WEIGHT_MAX = 4.0
"""Positive or negative. An adapter at many times its own size drowns out the base."""

PARAM = "openledger.adapters"


def weighted_source(request: InferenceRequest, find: FindAdapter) -> AdapterSource:
    """Combine a request's weighted adapters into one source; the order in which they are named does not matter.

    Raises:
        MalformedError: a weight is out of bounds, or an adapter is named twice.
        UnknownModelError: this node does not have one of them.
    """
    if len(request.adapters) > PARTS_MAX:
        raise MalformedError(f"{PARAM} takes at most {PARTS_MAX} adapters", param=PARAM)
    found: dict[AdapterId, AdapterPart] = {}
    for named in request.adapters:
        if not isfinite(named.weight) or abs(named.weight) > WEIGHT_MAX:
            raise MalformedError(f"a weight of {PARAM} must be from {-WEIGHT_MAX:g} to {WEIGHT_MAX:g}", param=PARAM)
        adapter = find(named.name)
        if adapter.id in found:
            raise MalformedError(f"{PARAM} names {adapter.full_name} twice", param=PARAM)
        found[adapter.id] = AdapterPart(folder=str(adapter.folder), weight=named.weight)
    parts = dict(sorted(found.items()))
    return AdapterSource(id=_set_id(parts), parts=tuple(parts.values()))


def _set_id(parts: dict[AdapterId, AdapterPart]) -> AdapterId:
    weights = [[adapter_id, part.weight] for adapter_id, part in parts.items()]
    if len(weights) == 1 and weights[0][1] == 1:
        return next(iter(parts))  # identical to that adapter, which may already be in memory
    return AdapterId(canonical_digest({"schema": WEIGHTED_SCHEMA, "parts": weights}))


def check_for_sale(request: InferenceRequest) -> None:
    """Require that a request can be sold by other nodes.

    Raises:
        MalformedError: it uses a feature that only this machine's own engine provides.
    """
    if request.adapters:
        raise MalformedError(f"{PARAM} is for adapters on this machine: a receipt names one adapter", param=PARAM)
    if request.thinking is not None:
        raise MalformedError(
            "reasoning is turned on or off by this machine's own engine only, and this model is not on it",
            param="reasoning_effort",
        )
    if request.sampling.logprobs is not None:  # before the ids, which `echo` with logprobs puts into a request
        raise MalformedError(
            "logprobs are given by this machine's own engine only, and this model is not on it", param="logprobs"
        )
    if request.ignores_end:
        raise MalformedError(
            "only this machine's own engine goes on after the end of an answer, and this model is not on it: "
            "leave out ignore_eos",
            param="ignore_eos",
        )
    if request.prompt_ids:
        raise MalformedError(
            "a prompt of token ids is for models on this machine: send this one as text", param="prompt"
        )
