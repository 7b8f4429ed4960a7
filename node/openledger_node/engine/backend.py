"""The interface of every backend that runs the model: one ragged batch a step, with any mix of adapters."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource

if TYPE_CHECKING:  # a start loads this module before its child processes run, so it does without numpy
    import numpy as np
    from numpy.typing import NDArray

    from .taps import ReplayedTokens, Taps

BLOCK_TOKENS = 16
"""Tokens a block of the KV cache, which is the unit of allocation and of sharing."""


USUAL_CONTEXT: Final = 2_048
"""Tokens of a usual conversation, for which the memory of a batch is reserved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """Settings with which a backend is opened."""

    base_folder: str | None  # None for the fake, which has no files
    device: str
    dtype: str
    threads: int
    batch_max: int
    context_max: int
    device_bytes_max: int = 0  # the owner's cap on a GPU's memory; 0: none
    reserve_bytes: int = 0  # of GPU memory that an automatic KV cache leaves to steps and adapters
    kv_cache_bytes: int = 0  # for keys and values; 0: as `blocks_wanted` says
    is_auto_context: bool = False  # `context_max` was chosen by a plan, so that less than it is no fault
    adapter_bytes: int = 1 << 30  # for adapters on the device, for backends that allocate it at the start
    prefill_tokens_max: int = 512  # prompt tokens of a step, for backends that measure the largest step
    quantisation: str = "auto"  # of the base: auto, none, int8, int4, nf4
    acceleration: str = "auto"  # the compiled CPU path, and the kernels for a GPU: auto, off
    merge_after_steps: int = (
        0  # steps with one adapter alone in the batch before it is merged into the base; 0: never
    )
    cache_folder: str | None = None  # for packed weights and adapters, to speed up the next start; None: not kept
    adapter_rank_max: int = 64  # the largest rank in the library at the start, for backends that reserve by rank
    server_url: str | None = None  # of a server that the operator runs, for backends that use one
    server_command: str = ""  # starts such a server, with extra arguments; used if server_url is None

    def blocks_wanted(self, context: int) -> int:
        """Blocks of a KV cache whose size is not set: a batch of whole contexts, each in blocks of its own.

        Of an automatic context, a batch of usual ones is enough, and at least one whole context.
        """
        usual = min(context, USUAL_CONTEXT) if self.is_auto_context else context
        return max(-(-context // BLOCK_TOKENS), self.batch_max * -(-usual // BLOCK_TOKENS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Properties of an open backend."""

    backend: str
    kernel: str  # one of torch, avx512_bf16, amx_bf16, triton, transformers, vllm, llama.cpp, none
    device: str
    dtype: str
    quantisation: str  # of the base's linear maps as they are served: none, int8, int4, nf4
    threads: int
    context_max: int  # tokens of prompt and answer together
    vocab_size: int
    num_blocks: int  # of BLOCK_TOKENS tokens in the KV cache; 0: the backend manages its own cache, without blocks
    block_bytes: int
    base_bytes: int  # size of the base's weights
    end_ids: tuple[int, ...]  # tokens that end an answer
    schedules_itself: bool = False  # it batches on its own: prompts are handed to it whole, and it is polled
    draws_elsewhere: bool = (
        False  # tokens are drawn without `Draw.allowed`: it follows JSON schemas by itself, no grammar
    )


def has_penalties(sampling: SamplingParams) -> bool:
    """Return True if earlier tokens are penalised."""
    return sampling.frequency_penalty != 0 or sampling.presence_penalty != 0 or sampling.repetition_penalty != 1


Words: TypeAlias = "NDArray[np.uint32]"  # (⌈vocabulary / 32⌉,) one bit a token id


class Mask:
    """The tokens that a grammar allows next; computed at the first call, so that a device can run meanwhile."""

    def __init__(self, compute: "Callable[[], Words | None]") -> None:
        self._compute = compute
        self._words: Words | None = None
        self._is_known = False

    def words(self) -> "Words | None":
        """The allowed tokens; None if the answer is stuck, and its token will not be used."""
        if not self._is_known:
            self._words, self._is_known = self._compute(), True
        return self._words


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """Parameters of the token to draw after a row; the token is a pure function of these and of the row's logits."""

    sampling: SamplingParams
    position: int  # of the token to draw, in its sequence
    output_ids: Items[int] = ()  # of the answer so far, for penalties
    prompt_ids: Items[int] = ()
    allowed: Mask | None = None  # None: any token may be drawn
    is_tapped: bool = False  # hand out the taps of this row, if the backend has any and the row an adapter

    @property
    def is_argmax(self) -> bool:
        """True if only the likeliest token matters, so that the other logits need not be read."""
        how = self.sampling
        return how.temperature == 0 and self.allowed is None and how.logprobs is None and not has_penalties(how)


REPLAYED: Final = Draw(sampling=SamplingParams(max_tokens=1, seed=0, temperature=0), position=0, is_tapped=True)
"""Of a token that is known: none is drawn, but logits and taps are handed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A drawn token, with the log probabilities that were requested."""

    token: int
    logprob: float | None = None  # of the token, by the model's own softmax
    top: tuple[tuple[int, float], ...] = ()  # the likeliest token ids with their log probabilities, likeliest first
    taps: "Taps | None" = None  # of the position behind which the token was drawn, if they were requested


LATER: Final = Drawn(token=-1)
"""Stands for a token that has not come yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """One sequence's part of a step: the tokens to run, and how to draw the token after them."""

    sequence_id: str
    token_ids: tuple[int, ...]
    position: int  # of the first of `token_ids` in its sequence
    blocks: tuple[int, ...] = ()  # hold the sequence's keys and values, including this step's
    draw: Draw | None = None  # None: more of the prompt follows, so draw nothing
    payer: str = ""  # may reuse this sequence's prefix; for backends that manage their own cache


class AdapterMustWaitError(Exception):
    """This backend can load the adapter only while no sequence is joined."""


class HostAdapter(Protocol):
    """An adapter that was read and checked; it is in the machine's memory, ready for the device."""

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes on the device."""


class Backend(Protocol):
    """Runs steps over one base model; all methods but `read_adapter` are called from one thread.

    A row's logits depend on its own sequence and adapter. In float32 on a CPU, and on the compiled step, its tokens
    are the same in any batch. Elsewhere sums are rounded by the batch's shape, which may decide between two tokens
    that are almost equally likely.
    Blocks may come from other sequences: their content is garbage until the first token of a block is written.
    """

    @property
    def profile(self) -> Profile:
        """The properties of the open backend."""

    @property
    def has_taps(self) -> bool:
        """True if it hands out taps; it is then a `TappingBackend`."""

    def read_adapter(self, source: AdapterSource) -> HostAdapter:
        """Read the files of an adapter; any thread may call this, also during a step.

        Raises:
            AdapterRefusedError: its files do not fit the base; nothing of it is kept.
        """

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Bring an adapter to the device.

        Raises:
            AdapterMustWaitError: it can be loaded only while no sequence is joined.
            AdapterRefusedError: the backend can't serve it.
        """

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter that no joined sequence uses."""

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence its place in the batch; at most `batch_max` are joined at once.

        Raises:
            AdapterRefusedError: its adapter is not loaded.
        """

    def leave(self, sequence_id: str) -> None:
        """Free a sequence's place; its blocks may hold a prefix that other sequences still use."""

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run all rows, write their keys and values to their blocks, and draw the requested tokens.

        Returns:
            The drawn token of each row with `draw`, by sequence id; none for a row whose numbers overflowed.
        """


class PollingBackend(Backend, Protocol):
    """A backend whose profile says `schedules_itself`; its rows draw their tokens when they come."""

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run rows as `step` does, and wait a moment for any of their tokens.

        Returns:
            As `step`, with LATER for a row whose token has not come; it is in the next poll again, unchanged.
        """


class TappingBackend(Backend, Protocol):
    """A backend that hands out taps of its steps, and of known tokens."""

    def replay(self, row: BatchRow, next_ids: tuple[int, ...]) -> "ReplayedTokens":
        """Run a row's tokens, whose last ones were followed by `next_ids`, and draw nothing.

        The sequence has joined with an adapter, and the row has its blocks, as in `step`. There is at least one next
        token. A long text is replayed piece by piece; pieces that lie before the answer are steps without `draw`.

        Returns:
            The taps and log probabilities of `next_ids`.
        """

    def unembedding(self, token_ids: Items[int]) -> "NDArray[np.float32]":
        """The rows of the output head for these tokens, (tokens, d_model)."""
