"""The socket for whatever runs the model: one ragged batch a step, any mix of adapters in it."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource

BLOCK_TOKENS = 16
"""Tokens whose keys and values lie together: the unit in which the KV cache is handed out and shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """What a backend is opened with."""

    base_folder: str | None  # None for the fake, which has no files
    device: str
    dtype: str
    threads: int
    batch_max: int
    context_max: int
    kv_cache_bytes: int = 0  # for keys and values; 0: what `batch_max` sequences of `context_max` may need
    quantisation: str = "none"  # of the base: none, int8, nf4
    acceleration: str = "auto"  # the compiled CPU path: auto, off
    merge_after_steps: int = 0  # steps that one adapter owns the batch before it is merged into the base; 0: never
    cache_folder: str | None = None  # where packed weights and adapters are kept for the next start; None: nowhere
    server_url: str | None = None  # of a server that the operator runs, for backends that talk to one
    server_command: str = ""  # the program that such a server is, and arguments to add; where there is no server_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a backend turned out to be once it was open."""

    backend: str
    kernel: str  # what computes a step: torch, avx512_bf16, amx_bf16, transformers, vllm, none
    device: str
    dtype: str
    quantisation: str
    threads: int
    context_max: int  # tokens of prompt and answer together
    vocab_size: int
    num_blocks: int  # of BLOCK_TOKENS tokens in the KV cache; 0: the backend keeps its own, and blocks mean nothing
    block_bytes: int
    base_bytes: int  # that the base's weights take
    end_ids: tuple[int, ...]  # tokens that end an answer


def has_penalties(sampling: SamplingParams) -> bool:
    """Whether the tokens that came before change a token's chances by themselves."""
    return sampling.frequency_penalty != 0 or sampling.presence_penalty != 0 or sampling.repetition_penalty != 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """How to draw the token behind a row: a pure function of its logits and of what stands here."""

    sampling: SamplingParams
    position: int  # of the token to draw, in its sequence
    output_ids: Items[int] = ()  # of the answer so far, for penalties
    prompt_ids: Items[int] = ()
    allowed: NDArray[np.uint32] | None = None  # (⌈vocabulary / 32⌉,) one bit a token id; None: all may be drawn

    @property
    def is_argmax(self) -> bool:
        """Whether the likeliest token is all that is asked for: then nobody need look at the other logits."""
        how = self.sampling
        return how.temperature == 0 and self.allowed is None and how.logprobs is None and not has_penalties(how)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A token, and what was asked to be said of its chances."""

    token: int
    logprob: float | None = None  # of the token, by the model's own softmax
    top: tuple[tuple[int, float], ...] = ()  # likeliest token ids with theirs, likeliest first


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """One sequence's part of a step: tokens to run, and how to draw the one after the last of them."""

    sequence_id: str
    token_ids: tuple[int, ...]
    position: int  # of the first of `token_ids` in its sequence
    blocks: tuple[int, ...] = ()  # where the sequence's keys and values lie, this step's included
    draw: Draw | None = None  # None: more of the prompt follows, draw nothing


class HostAdapter(Protocol):
    """An adapter read and checked, in the machine's memory, ready for the device."""

    @property
    def size_bytes(self) -> int:
        """What it takes on the device."""


class Backend(Protocol):
    """Runs steps over one base model; used from one thread, but for `read_adapter`.

    The tokens drawn for a row depend on that row's own sequence and adapter alone, never on its batch-mates.
    Blocks may come from other sequences: what lies in them before the first token of a block is written is garbage.
    """

    @property
    def profile(self) -> Profile:
        """What it is and what fits."""

    def read_adapter(self, source: AdapterSource) -> HostAdapter:
        """Read an adapter's files, or those of a weighted set; any thread may, while others step.

        Raises:
            AdapterRefusedError: its files do not fit the base; nothing of it stays behind.
        """

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Bring an adapter to the device."""

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter that no joined sequence uses."""

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence its place; at most `batch_max` are joined at once.

        Raises:
            AdapterRefusedError: its adapter is not loaded.
        """

    def leave(self, sequence_id: str) -> None:
        """Free a sequence's place; its blocks may hold a prefix that others go on using."""

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run all rows, put their keys and values into their blocks, and draw the tokens asked for.

        Returns:
            What was drawn for each row with `draw`, by sequence id; none for a row whose numbers overflowed.
        """
