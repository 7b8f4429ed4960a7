"""How fast the engine answers."""

from collections import deque

WINDOW_S = 5.0


class Meter:
    """Tokens a second over the last seconds."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()  # (seconds, tokens), the oldest first
        self._num_tokens = 0  # of those noted

    def note(self, now_s: float, num_tokens: int) -> None:
        """Note the tokens of one step."""
        self._noted.append((now_s, num_tokens))
        self._num_tokens += num_tokens

    def tokens_per_s(self, now_s: float) -> float:
        """The mean over the window."""
        while self._noted and self._noted[0][0] <= now_s - WINDOW_S:
            self._num_tokens -= self._noted.popleft()[1]
        return self._num_tokens / WINDOW_S
