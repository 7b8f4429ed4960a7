"""When to fold an adapter into the base: once it has owned the batch for long, and until somebody else comes."""

from collections.abc import Collection

from openledger_protocol.primitives import AdapterId


class MergePolicy:
    """Counts steps in a row that one adapter had for itself."""

    def __init__(self, after_steps: int) -> None:
        self._after_steps = after_steps  # 0: never
        self._owner: AdapterId | None = None
        self._num_steps = 0

    def choose(self, adapter_ids: Collection[AdapterId | None]) -> AdapterId | None:
        """The adapter that the base should hold for a step over rows of these adapters; None: the bare base."""
        owner = next(iter(adapter_ids)) if len(set(adapter_ids)) == 1 else None
        self._num_steps = self._num_steps + 1 if owner == self._owner else 1
        self._owner = owner
        is_due = self._after_steps and owner is not None and self._num_steps > self._after_steps
        return owner if is_due else None

    def forget(self) -> None:
        """Start counting anew: merging was tried and did not work."""
        self._num_steps = 0
