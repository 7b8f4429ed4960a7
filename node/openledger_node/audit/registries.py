"""Check that registries, parameters and contracts answer as the logs say, because claims are divided by them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from openledger_protocol.errors import RevertedError

from ..chain.wiring import RULED
from ..network_file import WRAPPED_VOTES
from .chain import PinnedChain
from .events import EventLog
from .governance import deployers_of, role_faults
from .splits import RegistryState

PAID = ("ModelRegistry", "NodeStaking", "PaymentChannels", "AttributionRewards")
WIRES = (
    *((name, "token", "OpenToken") for name in PAID),
    *((name, "params", "Params") for name in PAID),
    *((name, "datanets", "DatanetRegistry") for name in ("ModelRegistry", "PaymentChannels", "AttributionRewards")),
    *((name, "staking", "NodeStaking") for name in ("PaymentChannels", "AttributionRewards")),
    ("AttributionRewards", "channels", "PaymentChannels"),
    ("PaymentChannels", "models", "ModelRegistry"),
    *RULED,
)
"""Addresses that contracts hold of one another: the holder, its view, and the contract that it must name."""

Known = tuple[str, Callable[[], Any], Any]  # name, query, expected answer


def wiring_faults(chain: PinnedChain, log: EventLog) -> list[str]:
    """List the addresses in contracts that differ from network.json, and powers that others than the votes have."""
    votes = WRAPPED_VOTES if WRAPPED_VOTES in chain.contracts else "OpenToken"
    wrapped = [(WRAPPED_VOTES, "underlying", "OpenToken")] if WRAPPED_VOTES in chain.contracts else []
    wires = (*WIRES, ("OpenGovernor", "token", votes), *wrapped)
    return [
        *_faults(
            (
                (f"{name}.{role}", partial(chain.ask, name, role), chain.contracts[other])
                for name, role, other in wires
            ),
            by="by network.json",
        ),
        *role_faults(log, chain.contracts),
        *_guardian_faults(chain, log),
    ]


def _guardian_faults(chain: PinnedChain, log: EventLog) -> list[str]:
    """Where money is real, whoever deployed the contracts must not be their guardian either."""
    guardian = chain.ask("PaymentChannels", "guardian")
    if chain.network.is_development or guardian not in deployers_of(log, chain.contracts):
        return []
    return [f"{guardian} deployed the contracts and is their guardian, who can stop new deposits"]


def registry_faults(chain: PinnedChain, registry: RegistryState, epochs: Iterable[int]) -> list[str]:
    """List the answers of registries and parameters that differ from the announced ones."""
    return _faults([*_adapters(chain, registry), *_datanets(chain, registry), *_terms(chain, registry, epochs)])


def _faults(known: Iterable[Known], *, by: str = "by the logs") -> list[str]:
    faults = []
    for what, ask, expected in known:
        try:
            found = ask()
        except RevertedError:
            found = "nothing"
        if found != expected:
            faults.append(f"{what} is {found}, and {by} {expected}")
    return faults


def _adapters(chain: PinnedChain, registry: RegistryState) -> Iterator[Known]:
    for id_, terms in registry.adapters.items():
        expected = {
            "owner": terms.owner,
            "royaltyPpm": terms.royalty_ppm,
            "claimableUntil": terms.claimable_until_s,
            "datanetIds": [datanet for datanet, _ in terms.datanets],
            "weightsPpm": [weight for _, weight in terms.datanets],
        }
        yield f"adapter {id_}", partial(chain.ask, "ModelRegistry", "termsOf", id_), expected


def _datanets(chain: PinnedChain, registry: RegistryState) -> Iterator[Known]:
    for id_, terms in registry.datanets.items():

        def ask(id_: str = id_) -> tuple[str, str, int]:
            row = chain.ask("DatanetRegistry", "datanetOf", id_)
            return row["owner"], row["treasury"], row["ownerPpm"]

        yield f"Datanet {id_}", ask, (terms.owner, terms.treasury, terms.owner_ppm)


def _terms(chain: PinnedChain, registry: RegistryState, epochs: Iterable[int]) -> Iterator[Known]:
    for epoch in epochs:

        def ask(epoch: int = epoch) -> tuple[int, int, int]:
            row = chain.ask("Params", "claimTermsAt", epoch)
            return row["protocolPpm"], row["dataPpm"], row["minStake"]

        yield f"the terms of epoch {epoch}", ask, _announced(registry, epoch)


def _announced(registry: RegistryState, epoch: int) -> tuple[int, int, int] | None:
    try:
        terms = registry.terms_at(epoch)
    except KeyError:
        return None
    return terms.protocol_ppm, terms.data_ppm, terms.min_stake_wei
