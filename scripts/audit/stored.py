"""The other side: what storage holds under every key that the logs have named."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openledger_protocol.primitives import Digest

from .books import Books
from .claims import Story
from .said import Said, text


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProposal:
    """What AttributionRewards keeps of a node's list."""

    attribution_root: Digest
    leaf_count: int
    payouts_hash: Digest
    ready_at_s: int
    state: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the logs have named."""

    channels: Mapping[str, str]  # channel → node
    claims: tuple[Story, ...]
    accounts: frozenset[str]  # that were ever credited
    nodes: frozenset[str]  # that ever bonded or claimed
    adapters: frozenset[str]
    holders: frozenset[str]  # of OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was read."""

    books: Books
    claim_hashes: Mapping[str, Digest]
    proposals: Mapping[str, StoredProposal]
    next_seqs: Mapping[str, int]  # by node
    totals: Mapping[str, tuple[int, int]]  # a sum over keys, and the contract's own


def keys_of(said: Said, stories: Iterable[Story]) -> Keys:
    """Every key under which money may lie."""
    claims = tuple(stories)
    nodes = {text(event, "node") for event in said.of("Bonded", "UnbondStarted", "RewardsPaid", "StakeWithdrawn")}
    ends = {text(event, end) for event in said.of("Transfer") for end in ("from", "to")}
    return Keys(
        channels={text(event, "channelId"): text(event, "node") for event in said.of("ChannelOpened")},
        claims=claims,
        accounts=frozenset(text(event, "account") for event in said.of("Credited", "Withdrawn")),
        nodes=frozenset(nodes | {story.node for story in claims}),
        adapters=frozenset(text(event, "adapterId") for event in said.of("AdapterRegistered", "BondReclaimed")),
        holders=frozenset(ends),
    )
