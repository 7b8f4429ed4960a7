"""Signed reports: statements of a node about the past, which no contract reads."""

from dataclasses import dataclass

from .eip712 import Domain, address_word, digest_word, struct_hash, type_hash, typed_digest, uint_word
from .primitives import Address, Digest, Wei

REPORTS_NAME = "OpenLedgerReports"

_RULE_REPLAY_HASH = type_hash(
    "RuleReplay(address node,uint64 firstEpoch,uint64 lastEpoch,uint32 algoWas,uint32 algoWould,"
    "uint128 gross,uint128 probesGross,uint128 keptGross,bytes32 contentHash)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReplay:
    """The head of a report on another attribution rule; its node's hot key signs it."""

    node: Address
    first_epoch: int
    last_epoch: int
    algo_was: int
    algo_would: int
    gross_wei: Wei  # of all claims of these epochs that are final
    probes_wei: Wei  # the part of the adapters whose probes were replayed
    kept_wei: Wei  # the price of the kept exchanges that were replayed
    content_hash: Digest  # of the whole report, as canonical JSON without this head's signature


def reports_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of reports; `contract` is Params, whose values they are about."""
    return Domain(name=REPORTS_NAME, chain_id=chain_id, verifying_contract=contract)


def rule_replay_digest(report: RuleReplay, domain: Domain) -> bytes:
    """The 32 bytes that the node signs."""
    return typed_digest(
        domain,
        struct_hash(
            _RULE_REPLAY_HASH,
            address_word(report.node),
            uint_word(report.first_epoch, 64),
            uint_word(report.last_epoch, 64),
            uint_word(report.algo_was, 32),
            uint_word(report.algo_would, 32),
            uint_word(report.gross_wei, 128),
            uint_word(report.probes_wei, 128),
            uint_word(report.kept_wei, 128),
            digest_word(report.content_hash),
        ),
    )
