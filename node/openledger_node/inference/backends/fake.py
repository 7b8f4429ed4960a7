"""A backend without a model: each token is a hash of what came before it, so every answer is reproducible.

It needs nothing and loads in no time; the network, the API and the tests run on it.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ..backend import BackendSettings, Profile, Row
from ..peft_format import read_layout
from ..tokenizer import ByteTokenizer

LETTERS = b"eeeeetttaaaooiinnsshhrrdlcumwfgypbvk        "
END_ONE_IN = 64
HASHED_TOKENS = 64
ENDLESS = b"..."
"""A prompt that holds this is answered up to max_tokens: for whoever needs a long answer."""


def open_backend(settings: BackendSettings) -> "FakeBackend":
    """Open the fake."""
    return FakeBackend(settings)


class FakeBackend:
    """Keeps each sequence's tokens and hashes them."""

    def __init__(self, settings: BackendSettings) -> None:
        self._batch_max = settings.batch_max
        self._adapters: set[AdapterId] = set()
        self._texts: dict[str, _Text] = {}
        self._profile = Profile(
            backend="fake",
            device="cpu",
            dtype="none",
            threads=1,
            context_max=settings.context_max,
            vocab_size=ByteTokenizer.end_id + 1,
            weight_bytes=1,
            end_ids=(ByteTokenizer.end_id,),
        )

    @property
    def profile(self) -> Profile:
        """A context as long as the settings allow."""
        return self._profile

    def load_adapter(self, adapter_id: AdapterId, folder: Path) -> None:
        """Check the files as every backend must; nothing is read of the weights."""
        read_layout(folder)
        self._adapters.add(adapter_id)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Forget an adapter."""
        assert all(text.adapter_id != adapter_id for text in self._texts.values()), "in use"
        self._adapters.remove(adapter_id)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Start a sequence."""
        assert len(self._texts) < self._batch_max, "the scheduler counts places"
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._texts[sequence_id] = _Text(adapter_id)

    def leave(self, sequence_id: str) -> None:
        """End a sequence."""
        del self._texts[sequence_id]

    def step(self, rows: tuple[Row, ...]) -> dict[str, int]:
        """Append each row's tokens; draw where asked."""
        return {row.sequence_id: token for row in rows if (token := self._run(row)) is not None}

    def _run(self, row: Row) -> int | None:
        text = self._texts[row.sequence_id]
        assert row.position == len(text.tokens), "rows come in order"
        text.tokens += row.token_ids
        if row.sampling is None:
            return None
        if text.is_endless is None:
            text.is_endless = ENDLESS in bytes(token & 0xFF for token in text.tokens)
        seed = row.sampling.seed if row.sampling.temperature else 0
        content = repr((text.adapter_id, seed, len(text.tokens), text.tokens[-HASHED_TOKENS:]))
        return _token(hashlib.sha256(content.encode()).digest(), is_endless=text.is_endless)


@dataclass(slots=True)
class _Text:
    adapter_id: AdapterId | None
    tokens: list[int] = field(default_factory=list)
    is_endless: bool | None = None


def _token(digest: bytes, *, is_endless: bool) -> int:
    if not is_endless and int.from_bytes(digest[:4], "big") % END_ONE_IN == 0:
        return ByteTokenizer.end_id
    return LETTERS[digest[4] % len(LETTERS)]
