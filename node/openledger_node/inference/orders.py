"""What the daemon has run, and what it hears where no engine could."""

from dataclasses import dataclass

from openledger_protocol.inference import SamplingParams

from . import frames
from .frames import Submit
from .sequence import AdapterSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One sequence to run."""

    sequence_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    adapter: AdapterSource | None
    payer: str = ""  # whose turn it uses up; empty: this machine's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The last word on a sequence whose engines died under it."""

    sequence_id: str


def submission(order: Order, resumed_ids: tuple[int, ...]) -> bytes:
    """The frame of a sequence; made before anything else is done with it, so that only its requester hears of it."""
    return frames.encode(
        Submit(
            sequence_id=order.sequence_id,
            prompt_ids=order.prompt_ids,
            resumed_ids=resumed_ids,
            sampling=order.sampling,
            adapter=order.adapter,
            payer=order.payer,
        )
    )
