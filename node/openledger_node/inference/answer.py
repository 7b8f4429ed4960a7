"""One answer as it grows: which text may be shown, and whether it is over."""

from collections.abc import Collection

from openledger_protocol.inference import FinishReason

from .tokenizer import Decoder


class Answer:
    """Tokens in, showable text out: whole characters, and nothing that may turn out to begin a stop string."""

    def __init__(self, *, decoder: Decoder, stop: tuple[str, ...], end_ids: Collection[int], max_tokens: int) -> None:
        self._decoder = decoder
        self._stop = stop
        self._end_ids = end_ids
        self._max_tokens = max_tokens
        self._num_tokens = 0
        self._held = ""  # decoded, but perhaps the beginning of a stop string
        self.finish_reason: FinishReason | None = None

    def push(self, token_id: int) -> str:
        """Take one generated token and return what may be shown now; sets `finish_reason` when it is the last."""
        assert self.finish_reason is None, "the answer is over"
        self._num_tokens += 1
        if token_id in self._end_ids:
            return self._finish("stop")
        self._held += self._decoder.push(token_id)
        if (cut := self._find_stop()) is not None:
            self._held = self._held[:cut]
            return self._finish("stop")
        if self._num_tokens >= self._max_tokens:
            return self._finish("length")
        return self._release(self._num_showable())

    def _finish(self, reason: FinishReason) -> str:
        self.finish_reason = reason
        return self._release(len(self._held))

    def _find_stop(self) -> int | None:
        """Where the stop string begins that is whole first, so that it matters not how tokens cut the text."""
        found = [(place + len(text), place) for text in self._stop if (place := self._held.find(text)) >= 0]
        return min(found)[1] if found else None

    def _num_showable(self) -> int:
        """Characters before the longest end of the held text that begins a stop string."""
        longest = max((len(text) for text in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(text.startswith(self._held[-length:]) for text in self._stop):
                return len(self._held) - length
        return len(self._held)

    def _release(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        return shown
