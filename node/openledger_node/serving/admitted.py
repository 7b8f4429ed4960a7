"""A request that was let in."""

from dataclasses import dataclass

from openledger_protocol.inference import InferenceRequest

from ..inference.adapters import Adapter
from ..inference.sequence import AdapterPart, AdapterSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A request that was let in: its canonical prompt tokens and what it runs on."""

    request: InferenceRequest
    prompt_ids: tuple[int, ...]
    adapter: Adapter | None
    payer: str = ""  # who takes turns with other payers at the engine; empty: this machine's own
    weighted: AdapterSource | None = None  # several adapters that add up, instead of one

    @property
    def source(self) -> AdapterSource | None:
        """What it runs on beside the base."""
        if self.weighted or not self.adapter:
            return self.weighted
        return AdapterSource(id=self.adapter.id, parts=(AdapterPart(folder=str(self.adapter.folder)),))
