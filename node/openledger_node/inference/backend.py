"""The socket for whatever runs the model: one ragged batch a step, any mix of adapters in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """What a backend is opened with."""

    base_folder: str | None  # None for the fake, which has no files
    device: str
    dtype: str
    threads: int
    batch_max: int
    context_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a backend turned out to be once it was open."""

    backend: str
    device: str
    dtype: str
    threads: int
    context_max: int  # tokens of prompt and answer together
    vocab_size: int
    weight_bytes: int  # that one number of an adapter takes on the device
    end_ids: tuple[int, ...]  # tokens that end an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sequence's part of a step: tokens to run, and how to draw the one after the last of them."""

    sequence_id: str
    token_ids: tuple[int, ...]
    position: int  # of the first of `token_ids` in its sequence
    sampling: SamplingParams | None  # None: more of the prompt follows, draw nothing


class Backend(Protocol):
    """Runs steps over one base model; used from one thread.

    The tokens drawn for a row depend on that row's own sequence and adapter alone, never on its batch-mates.
    """

    @property
    def profile(self) -> Profile:
        """What it is and what fits."""

    def load_adapter(self, adapter_id: AdapterId, folder: Path) -> None:
        """Bring an adapter to the device.

        Raises:
            AdapterRefusedError: its files do not fit the base; nothing of it stays behind.
        """

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter that no joined sequence uses."""

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence its place; at most `batch_max` are joined at once."""

    def leave(self, sequence_id: str) -> None:
        """Free a sequence's place and its keys and values."""

    def step(self, rows: tuple[Row, ...]) -> dict[str, int]:
        """Run all rows, put their keys and values into the cache, and draw the tokens asked for.

        Returns:
            The drawn token of each row with `sampling`, by sequence id; none for a row whose numbers overflowed.
        """
