"""A backend without a model: each token is a hash of the tokens before it, so every answer is reproducible.

It needs no files and loads at once, so tests and demos of the network and the API run on it. Its KV cache holds
tokens, and it reads each text back from its blocks, so that a mistake in paging gives a wrong answer.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ..engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Draw, Drawn, HostAdapter, Profile
from ..engine.tokenizer import ByteTokenizer
from ..models.adapter_files.layout import read_layout
from ..models.adapter_source import AdapterSource

LETTERS = b"eeeeetttaaaooiinnsshhrrdlcumwfgypbvk        "
END_ONE_IN = 64
HASHED_TOKENS = 64
ENDLESS = b"..."
"""A prompt that contains this is answered up to max_tokens, for tests that need a long answer."""

VOCAB_SIZE = ByteTokenizer.end_id + 1
BLOCK_BYTES = BLOCK_TOKENS * 4
UNWRITTEN = -1


def open_backend(settings: BackendSettings) -> "FakeBackend":
    """Open the fake backend."""
    return FakeBackend(settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeAdapter:
    """The size of an adapter; only its id affects the answers."""

    size_bytes: int  # one byte for each of its numbers


@dataclass(slots=True)
class _Text:
    adapter_id: AdapterId | None
    is_endless: bool | None = None


class FakeBackend:
    """Keeps tokens in blocks and hashes them."""

    has_taps = False

    def __init__(self, settings: BackendSettings) -> None:
        self._batch_max = settings.batch_max
        self._adapters: set[AdapterId] = set()
        self._texts: dict[str, _Text] = {}
        self._blocks: dict[int, list[int]] = {}  # block → its tokens; created when it is first written
        self._profile = Profile(
            backend="fake",
            kernel="none",
            device="cpu",
            dtype="none",
            quantisation="none",
            threads=1,
            context_max=settings.context_max,
            vocab_size=VOCAB_SIZE,
            num_blocks=_num_blocks(settings),
            block_bytes=BLOCK_BYTES,
            base_bytes=0,
            end_ids=(ByteTokenizer.end_id,),
        )

    @property
    def profile(self) -> Profile:
        """A profile whose context is as long as the settings allow."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> FakeAdapter:
        """Check the files as every backend must, but read no weights."""
        return FakeAdapter(size_bytes=read_layout(Path(source.folder)).num_parameters)

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Remember an adapter."""
        assert isinstance(adapter, FakeAdapter), "it was read here"
        self._adapters.add(adapter_id)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Forget an adapter."""
        assert all(text.adapter_id != adapter_id for text in self._texts.values()), "in use"
        self._adapters.remove(adapter_id)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Start a sequence."""
        assert len(self._texts) < self._batch_max, "the scheduler counts places"
        assert sequence_id not in self._texts, "it has left before it joins again"
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._texts[sequence_id] = _Text(adapter_id)

    def leave(self, sequence_id: str) -> None:
        """End a sequence."""
        del self._texts[sequence_id]

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Write each row's tokens to its blocks, and draw the requested tokens from the content of the blocks."""
        for row in rows:
            self._write(row)
        return {row.sequence_id: self._run(row, row.draw) for row in rows if row.draw}

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run rows as `step` does, because no token is ever late here."""
        return self.step(rows)

    def _write(self, row: BatchRow) -> None:
        for position, token_id in enumerate(row.token_ids, row.position):
            block = self._blocks.setdefault(row.blocks[position // BLOCK_TOKENS], [UNWRITTEN] * BLOCK_TOKENS)
            block[position % BLOCK_TOKENS] = token_id

    def _read(self, row: BatchRow, first: int, last: int) -> list[int]:
        """The tokens in the row's blocks from `first` up to `last`."""
        blocks = row.blocks[first // BLOCK_TOKENS : -(-last // BLOCK_TOKENS)]
        tokens = [token for block in blocks for token in self._blocks[block]]
        start = first % BLOCK_TOKENS
        return tokens[start : start + last - first]

    def _run(self, row: BatchRow, draw: Draw) -> Drawn:
        text = self._texts[row.sequence_id]
        length = row.position + len(row.token_ids)
        assert draw.position == length, "the token behind the row is drawn"
        if text.is_endless is None:
            text.is_endless = ENDLESS in bytes(token & 0xFF for token in self._read(row, 0, length))
        seed = draw.sampling.seed if draw.sampling.temperature else 0
        ending = self._read(row, max(0, length - HASHED_TOKENS), length)
        content = repr((text.adapter_id, seed, length, ending))
        return _drawn(hashlib.sha256(content.encode()).digest(), draw, is_endless=text.is_endless)


def _num_blocks(settings: BackendSettings) -> int:
    """The number of blocks that the settings allow; no memory is taken before a block is written."""
    if settings.kv_cache_bytes:
        return max(1, settings.kv_cache_bytes // BLOCK_BYTES)
    return settings.blocks_wanted(settings.context_max)


def _drawn(digest: bytes, draw: Draw, *, is_endless: bool) -> Drawn:
    token = _allowed_token(_token(digest, is_endless=is_endless), draw.allowed.words() if draw.allowed else None)
    if draw.sampling.logprobs is None:
        return Drawn(token=token)
    others = [other for other in range(VOCAB_SIZE) if other != token][: max(0, draw.sampling.logprobs - 1)]
    chance = (1 + digest[5]) / 512  # of the token; each of the others gets half of the one before
    ranked = [(token, math.log(chance)), *((other, math.log(chance / 2**n)) for n, other in enumerate(others, 1))]
    return Drawn(token=token, logprob=ranked[0][1], top=tuple(ranked[: draw.sampling.logprobs]))


def _token(digest: bytes, *, is_endless: bool) -> int:
    if not is_endless and int.from_bytes(digest[:4], "big") % END_ONE_IN == 0:
        return ByteTokenizer.end_id
    return LETTERS[digest[4] % len(LETTERS)]


def _allowed_token(token: int, allowed: NDArray[np.uint32] | None) -> int:
    """The token itself, or the next one that is allowed."""
    if allowed is None:
        return token
    ids = ((token + step) % VOCAB_SIZE for step in range(VOCAB_SIZE))
    return next(each for each in ids if int(allowed[each // 32]) >> (each % 32) & 1)
