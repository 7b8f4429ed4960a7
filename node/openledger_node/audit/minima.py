"""Minima of stake, deposit and bond that a vote would change, and who or what would be below them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openledger_protocol.epoch import Params

from .chain import PinnedChain
from .events import EventLog, amount_of, text
from .staking import Stakes


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """A minimum that would be another."""

    field: str  # of Params
    was_wei: int
    would_wei: int
    below: Mapping[str, int]  # wei by node, channel or adapter


def find_minima(
    chain: PinnedChain,
    log: EventLog,
    stakes: Stakes,
    newest: Params,
    changes: Mapping[str, int],
    *,
    since_s: int,
) -> list[Minimum]:
    """Find those under each minimum that changes, but not under the one of today.

    Stake counts as of now. Deposits and bonds are those that were paid in since `since_s`.
    """
    found: dict[str, Callable[[], Mapping[str, int]]] = {
        "min_stake_wei": lambda: {node: wei for node, wei in stakes.bonded.items() if wei},
        "min_deposit_wei": lambda: _paid_in(chain, log, "ChannelOpened", "channelId", since_s),
        "adapter_bond_wei": lambda: _paid_in(chain, log, "AdapterRegistered", "adapterId", since_s),
    }
    minima = []
    for field in filter(changes.__contains__, found):
        was, would = getattr(newest, field), changes[field]
        below = {name: wei for name, wei in found[field]().items() if was <= wei < would}
        minima.append(Minimum(field=field, was_wei=was, would_wei=would, below=dict(sorted(below.items()))))
    return minima


def _paid_in(chain: PinnedChain, log: EventLog, name: str, field: str, since_s: int) -> dict[str, int]:
    first = chain.first_block_at(since_s)
    return {text(event, field): amount_of(event) for event in log.of(name) if event.block.number >= first}
