"""The opening of a receipt's commitments: texts and token ids of an exchange, and the payer's salts.

Only the payer keeps it, if at all, and may give it to anyone who verifies its receipt.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .codec import canonical_json, to_plain
from .commitments import fingerprint, output_commit, prompt_commit
from .errors import AttributionError, MalformedError
from .inference import (
    Message,
    SamplingParams,
    Tool,
    ToolCall,
    Tooling,
    check_sampling,
    check_tooling,
    plain_message,
    plain_sampling,
    plain_tooling,
)
from .payments import Receipt, Work, billed_tokens
from .primitives import ZERO_DIGEST, AdapterId, DatanetId, Digest, RequestId, Salt, check_digest, check_text
from .signals import DatanetSignals, signals_from_bytes, signals_hash
from .wire.inference import Salts

OPENING_SCHEMA = "openledger.opening/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One exchange in plain text."""

    messages: tuple[Message, ...] | str
    sampling: SamplingParams
    prefix: str  # the part of the answer that an earlier node delivered; `text` continues it
    text: str
    ids: tuple[int, ...]  # generated, including the stop token
    salts: Salts
    tooling: Tooling | None = None
    signals: DatanetSignals = ()  # that its receipt commits to; none for a rule of texts


def work_of(
    opening: Opening,
    *,
    request_id: RequestId,
    adapter_id: AdapterId,
    profile_hash: Digest,
    index_root: Digest,
    tokens_in: int,
    canonical_ids: Sequence[int],
) -> Work:
    """State the work of one exchange as its receipt must: the seller signs it, and the payer computes the same.

    `canonical_ids` is the canonical tokenisation of the opening's text, `tokens_in` counts that of the prompt.
    """
    return Work(
        request_id=request_id,
        profile_hash=profile_hash,
        index_root=index_root,
        tokens_in=tokens_in,
        tokens_out=billed_tokens(opening.ids, canonical_ids),
        prompt_commit=prompt_commit(opening.salts.prompt, opening.messages, opening.sampling, opening.tooling),
        output_commit=output_commit(opening.salts.output, opening.text),
        retrieval_hash=ZERO_DIGEST,
        signals_hash=signals_hash(opening.signals),
        fingerprint=fingerprint(
            request_id=request_id,
            adapter_id=adapter_id,
            profile_hash=profile_hash,
            prompt_tokens=tokens_in,
            ids=opening.ids,
            salt=opening.salts.fingerprint,
        ),
    )


def check_opening(opening: Opening, receipt: Receipt) -> None:
    """Require that an opening matches the prompt, answer and token ids that a receipt commits to.

    Raises:
        MalformedError: one of them does not match; the message names it.
    """
    work, salts = receipt.work, opening.salts
    ids = fingerprint(
        request_id=work.request_id,
        adapter_id=receipt.adapter_id,
        profile_hash=work.profile_hash,
        prompt_tokens=work.tokens_in,
        ids=opening.ids,
        salt=salts.fingerprint,
    )
    for name, found, expected in (
        (
            "prompt",
            prompt_commit(salts.prompt, opening.messages, opening.sampling, opening.tooling),
            work.prompt_commit,
        ),
        ("answer", output_commit(salts.output, opening.text), work.output_commit),
        ("tokens", ids, work.fingerprint),
        *((("signals", signals_hash(opening.signals), work.signals_hash),) if opening.signals else ()),
    ):
        if found != expected:
            raise MalformedError(f"the {name} of this opening is not what the receipt commits to")


def opening_to_json(opening: Opening) -> bytes:
    """Write an opening as a file; the seed is decimal text, because JSON holds only 53-bit integers."""
    fields = to_plain(replace(opening, tooling=None, signals=()))
    assert isinstance(fields, dict)
    fields["sampling"] = {**plain_sampling(opening.sampling), "seed": str(opening.sampling.seed)}
    if not isinstance(opening.messages, str):
        fields["messages"] = [plain_message(message) for message in opening.messages]
    del fields["tooling"], fields["signals"]
    if opening.signals:
        fields["signals"] = {datanet: "0x" + each.to_bytes().hex() for datanet, each in opening.signals}
    if opening.tooling:
        fields["tooling"] = plain_tooling(opening.tooling)
    return canonical_json({"schema": OPENING_SCHEMA, **fields})


def opening_from_json(content: bytes) -> Opening:
    """Read an opening from an untrusted source.

    Raises:
        MalformedError: it is not an opening.
    """
    try:
        fields = json.loads(content)
        if fields["schema"] != OPENING_SCHEMA:
            raise MalformedError(f"an opening's schema is {OPENING_SCHEMA}")
        return Opening(
            messages=_messages(fields["messages"]),
            sampling=_sampling(fields["sampling"]),
            prefix=check_text(fields["prefix"]),
            text=check_text(fields["text"]),
            ids=tuple(int(token_id) for token_id in fields["ids"]),
            salts=Salts(**{name: Salt(str(fields["salts"][name])) for name in ("prompt", "output", "fingerprint")}),
            tooling=_tooling(fields["tooling"]) if "tooling" in fields else None,
            signals=_signals(fields.get("signals", {})),
        )
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError, AttributionError) as error:
        raise MalformedError(f"this is not an opening of a receipt: {error!r}") from error


def _messages(value: Any) -> tuple[Message, ...] | str:
    if isinstance(value, str):
        return check_text(value)
    return tuple(
        Message(
            role=turn["role"],
            content=check_text(turn["content"]),
            tool_calls=tuple(ToolCall(**call) for call in turn.get("tool_calls", ())),
            tool_call_id=turn.get("tool_call_id", ""),
        )
        for turn in value
    )


def _signals(value: Any) -> DatanetSignals:
    found = ((check_digest(key), bytes.fromhex(content.removeprefix("0x"))) for key, content in value.items())
    return tuple((DatanetId(key), signals_from_bytes(content)) for key, content in sorted(found))


def _tooling(value: Any) -> Tooling:
    return check_tooling(Tooling(**{**value, "tools": tuple(Tool(**tool) for tool in value["tools"])}))


def _sampling(value: Any) -> SamplingParams:
    return check_sampling(SamplingParams(**{**value, "seed": int(value["seed"]), "stop": tuple(value["stop"])}))
