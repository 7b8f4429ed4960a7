"""How it goes with the chain, in one word and a reason."""

from dataclasses import dataclass
from typing import Literal

Health = Literal["ok", "down", "halted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """`down` mends itself when the endpoint does; `halted` waits for the operator, and no money moves."""

    health: Health = "ok"
    why: str | None = None


OK = ChainState()
