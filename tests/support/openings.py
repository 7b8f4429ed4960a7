"""Exchanges with the salts that open their commitments."""

from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.opening import Opening
from openledger_protocol.primitives import Salt
from openledger_protocol.wire.inference import Salts

from .signed import digest


def opening_of(answer: str) -> Opening:
    """The exchange of an answer."""
    salt = Salt(digest("e"))
    return Opening(
        messages=(Message(role="user", content="Who keeps the harbour?"),),
        sampling=SamplingParams(max_tokens=9, seed=7),
        prefix="",
        text=answer,
        ids=(),
        salts=Salts(prompt=salt, output=salt, fingerprint=salt),
    )
