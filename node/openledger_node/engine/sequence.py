"""One request inside the engine: its tokens, and the number of them in the KV cache."""

from dataclasses import dataclass, field

from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource

PASSED_BY_MAX = 64
"""Sequences that may overtake one whose adapter has no room yet. That is a few batches; then it must be next."""


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """Prompt and answer of one request as token ids; grows by one token a step."""

    sequence_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    adapter: AdapterSource | None = None
    payer: str = ""  # the turn is charged to this payer; empty: this machine's owner
    num_allowed: int | None = None  # tokens that the answer may have by now; None: no limit
    output_ids: list[int] = field(default_factory=list)  # not empty at the start if it resumes after a crash
    num_cached: int = 0  # tokens, from the front, whose keys and values are in the cache
    num_passed_by: int = 0  # sequences that overtook it
    was_cold: bool = False  # its adapter had to be loaded for it
    is_tapped: bool = False  # see `Draw.is_tapped`

    @property
    def adapter_id(self) -> AdapterId | None:
        """The id of its adapter, or None for the bare base."""
        return self.adapter.id if self.adapter else None

    @property
    def num_tokens(self) -> int:
        """The number of tokens of prompt and answer so far."""
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def num_pending(self) -> int:
        """The number of tokens that the model has not seen yet; 1 while decoding."""
        return self.num_tokens - self.num_cached

    @property
    def is_full(self) -> bool:
        """True if the answer has all requested tokens."""
        return len(self.output_ids) >= self.sampling.max_tokens

    @property
    def has_allowance(self) -> bool:
        """True if the next token of the answer may be computed."""
        return self.num_allowed is None or len(self.output_ids) < self.num_allowed

    @property
    def is_overdue(self) -> bool:
        """True if it was overtaken so often that it must be next."""
        return self.num_passed_by >= PASSED_BY_MAX

    def token_ids(self, first: int, last: int) -> tuple[int, ...]:
        """The tokens from position `first` up to `last`."""
        num_prompt = len(self.prompt_ids)
        return (
            *self.prompt_ids[first:last],
            *self.output_ids[max(0, first - num_prompt) : max(0, last - num_prompt)],
        )

    def pending_ids(self, count: int) -> tuple[int, ...]:
        """The next `count` tokens that the model has not seen."""
        return self.token_ids(self.num_cached, self.num_cached + count)
