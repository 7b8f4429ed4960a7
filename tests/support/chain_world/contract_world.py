"""Accounts that call the contracts themselves: a payer, a node, owners, and a stranger."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from typing import Any, TypeVar

from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS, DEVELOPMENT_WINDOWS
from openledger_protocol.adapter import registered_id
from openledger_protocol.chain import TransactionReceipt
from openledger_protocol.claims import (
    AdapterTerms,
    ChannelBalance,
    DatanetTerms,
    SkipCode,
    compute_claim,
    skip_codes,
)
from openledger_protocol.eip712 import Domain, payments_domain, staking_domain
from openledger_protocol.epoch import Params, epoch_at
from openledger_protocol.events import Event
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_DIGEST,
    AdapterId,
    Address,
    ChannelId,
    DatanetId,
    Digest,
    Salt,
    Wei,
)
from openledger_protocol.settlement import (
    ClaimRecord,
    EpochClaim,
    Item,
    Payout,
    ReceiptOpening,
    items_hash,
    opening_tuple,
    signer_consent_digest,
    span_of,
)
from openledger_protocol.signatures import address_of, sign_digest

from ..signed import AUTHORIZER, AUTHORIZER_KEY, NODE, NODE_KEY, PAYER, PAYER_KEY, SIGNER, SIGNER_KEY, account, digest
from .deployed import DeployedChain, deployed_chain
from .kept import copied_chain, keep_chain

OWNER_KEYS = [bytes([number]) * 32 for number in range(11, 15)]
STRANGER_KEY = b"\x21" * 32
PROTOCOL, TREASURY_1, TREASURY_2 = (account(number) for number in range(0x51, 0x54))

OPEN = 10**18
FORTUNE_WEI = 10**7 * OPEN
DEPOSIT_WEI = 100 * OPEN
WITHDRAW_DELAY_S = 40


def _manifest_between(owner_key: bytes, least: str, most: str) -> Digest:
    """A manifest whose adapter's id begins with one of these digits, so that ids come in the order of the list."""
    owner = address_of(owner_key)
    found = (Digest(f"0x{number:064x}") for number in count(1))
    return next(each for each in found if least <= registered_id(owner, each)[2] <= most)


ADAPTER_OWNERS = [OWNER_KEYS[2], OWNER_KEYS[3], OWNER_KEYS[2]]
MANIFESTS = [_manifest_between(key, *digits) for key, digits in zip(ADAPTER_OWNERS, ("14", "59", "ae"), strict=True)]
ADAPTERS = [
    BASE_ONLY,
    *(registered_id(address_of(key), each) for key, each in zip(ADAPTER_OWNERS, MANIFESTS, strict=True)),
]
"""The base alone; one of two Datanets; one of one; one of none."""


@dataclass(kw_only=True)
class ContractWorld:
    """A chain, the channels of its payer, and the registries' entries as values of the protocol."""

    chain: DeployedChain
    params: Params = DEVELOPMENT_PARAMS
    registry: dict[AdapterId, AdapterTerms] = field(default_factory=dict)
    datanets: dict[DatanetId, DatanetTerms] = field(default_factory=dict)
    num_channels: int = 0

    @property
    def payments(self) -> Domain:
        """The domain of PaymentChannels."""
        return payments_domain(self.chain.client.chain_id(), self.chain.contracts["PaymentChannels"])

    @property
    def now_s(self) -> int:
        """The latest block's time."""
        return self.chain.client.head().timestamp_s

    def wait(self, seconds: int) -> None:
        """Mine a block that much later."""
        self.chain.client.advance(seconds)

    def must(self, contract: str, function: str, *arguments: object, key: bytes) -> TransactionReceipt:
        """Send what has to succeed."""
        receipt = self.chain.send(contract, function, *arguments, key=key)
        assert receipt.is_ok, f"{contract}.{function} was refused"
        return receipt

    def events_of(self, receipt: TransactionReceipt, contract: str) -> list[Event]:
        """Events of a contract in one transaction."""
        found = self.chain.events(contract, first=receipt.block_number)
        return [event for event in found if event.transaction_hash == receipt.transaction_hash]

    def balance(self, account_: Address) -> int:
        """The wei credited to an account, to be withdrawn."""
        found: int = self.chain.read("AttributionRewards", "balanceOf", account_)
        return found

    # ---- channels

    def new_config(self, **changes: Any) -> ChannelConfig:
        """A channel that nobody has opened yet."""
        self.num_channels += 1
        fields: dict[str, Any] = {
            "payer": PAYER,
            "authorizer": AUTHORIZER,
            "node": NODE,
            "withdraw_delay_s": WITHDRAW_DELAY_S,
            "salt": Salt("0x" + self.num_channels.to_bytes(32, "big").hex()),
        }
        return ChannelConfig(**{**fields, **changes})

    def open(self, amount_wei: int = DEPOSIT_WEI, **changes: Any) -> ChannelConfig:
        """Open a channel of the payer's, at once."""
        config = self.new_config(**changes)
        self.must("PaymentChannels", "open", config, amount_wei, key=PAYER_KEY)
        return config

    def id_of(self, config: ChannelConfig) -> ChannelId:
        """The channel's id on this network."""
        return channel_id(config, self.payments)

    def channel(self, config: ChannelConfig, adapters: Sequence[AdapterId] = ADAPTERS) -> ChannelBalance:
        """A channel's deposit and claims on the chain."""
        key = self.id_of(config)
        row = self.chain.read("PaymentChannels", "channelOf", key)
        return ChannelBalance(
            deposit_wei=Wei(row["deposit"]),
            claimed_wei=Wei(row["claimed"]),
            lanes={each: Wei(self.chain.read("PaymentChannels", "laneClaimed", key, each)) for each in adapters},
        )

    def voucher(
        self,
        config: ChannelConfig,
        max_claimable_wei: int,
        *,
        adapter_id: AdapterId = BASE_ONLY,
        key: bytes = AUTHORIZER_KEY,
    ) -> SignedVoucher:
        """A voucher for a lane of a channel."""
        voucher = Voucher(
            channel_id=self.id_of(config), adapter_id=adapter_id, max_claimable_wei=Wei(max_claimable_wei)
        )
        return SignedVoucher(voucher=voucher, signature=sign_digest(key, voucher_digest(voucher, self.payments)))

    # ---- claims

    def item(
        self,
        amount: int,
        *,
        adapter: int = 0,
        start: int = 0,
        config: ChannelConfig | None = None,
        adapters: Sequence[AdapterId] = ADAPTERS,
    ) -> Item:
        """A sound item for an adapter of the claim, of a new channel if none is given."""
        config, end = config or self.open(), start + amount
        return Item(
            config=config,
            adapter=adapter,
            max_claimable_wei=Wei(end),
            from_wei=Wei(start),
            to_wei=Wei(end),
            signature=self.voucher(config, end, adapter_id=adapters[adapter]).signature,
        )

    def claim_of(self, items: Sequence[Item], adapters: Sequence[AdapterId] = ADAPTERS) -> EpochClaim:
        """The node's next claim, for these items."""
        return EpochClaim(
            node=NODE,
            seq=self.chain.read("PaymentChannels", "nextSeq", NODE),
            epoch=epoch_at(self.now_s + 1, DEVELOPMENT_WINDOWS),
            items_hash=items_hash(span_of(item, adapters, self.payments) for item in items),
        )

    def claim(
        self, items: Sequence[Item], adapters: Sequence[AdapterId] = ADAPTERS
    ) -> tuple[ClaimRecord, list[SkipCode | None], TransactionReceipt]:
        """Send the node's next claim, and return our own record of it, our codes, and the transaction."""
        balances = {self.id_of(item.config): self.channel(item.config, adapters) for item in items}
        codes = skip_codes(NODE, adapters, items, balances, self.payments)
        claim = self.claim_of(items, adapters)
        receipt = self.must("PaymentChannels", "claim", claim, adapters, items, b"", key=SIGNER_KEY)
        record = compute_claim(
            claim,
            adapters,
            items,
            domain=self.payments,
            codes=codes,
            claimed_at_s=self.now_s,
            claimed_block=self.chain.client.head().number,
            params=self.params,
            registry=self.registry,
            datanets=self.datanets,
        )
        return record, codes, receipt

    def propose(
        self, record: ClaimRecord, payouts: Sequence[Payout], *, root: Digest = ZERO_DIGEST
    ) -> TransactionReceipt:
        """Propose a claim's payouts."""
        return self.must("AttributionRewards", "propose", record, root, payouts, key=SIGNER_KEY)

    def draw(self, record: ClaimRecord) -> Digest:
        """Wait for the end of the review period, have points drawn, and return the seed."""
        self.wait(DEVELOPMENT_WINDOWS.window_s)
        self.must("AttributionRewards", "draw", record.node, record.seq, key=SIGNER_KEY)
        self.wait(1)
        seed = self.chain.client.head().hash
        self.wait(1)
        return seed

    def finalize(
        self, record: ClaimRecord, payouts: Sequence[Payout], openings: Sequence[ReceiptOpening] = ()
    ) -> TransactionReceipt:
        """Finalize a claim whose points were drawn, or that needs none."""
        shown = [opening_tuple(opening) for opening in openings]
        return self.must("AttributionRewards", "finalize", record, payouts, shown, key=STRANGER_KEY)


Kind = TypeVar("Kind", bound=ContractWorld)


def open_contract_world(
    kind: type[Kind] = ContractWorld,  # type: ignore[assignment]  # its own default
    *,
    params: Params = DEVELOPMENT_PARAMS,
    treasury: Address | None = PROTOCOL,
    **settings: Any,
) -> Kind:
    """Deploy, fund everybody, bond the node, found two Datanets and register three adapters.

    Further `settings` are those of `deployed_chain`. Without a client among them, the world is a copy of the first
    one with its settings.
    """
    settings = {"params": params, "treasury": treasury, **settings}
    if settings.get("client") is not None:
        return _prepared(kind, settings)
    rows, first = _kept(tuple(sorted(settings.items())))
    chain = replace(first.chain, client=copied_chain(rows), contracts=dict(first.chain.contracts))
    return kind(chain=chain, params=params, registry=dict(first.registry), datanets=dict(first.datanets))


@cache
def _kept(settings: tuple[tuple[str, Any], ...]) -> tuple[bytes, ContractWorld]:
    world: ContractWorld = _prepared(ContractWorld, dict(settings))
    with closing(world.chain.client) as client:
        return keep_chain(client), world


def _prepared(kind: type[Kind], settings: Mapping[str, Any]) -> Kind:
    world = kind(chain=deployed_chain(**settings), params=settings["params"])
    people = {PAYER_KEY: "PaymentChannels", NODE_KEY: "NodeStaking", **dict.fromkeys(OWNER_KEYS, "ModelRegistry")}
    for key, contract in people.items():
        world.chain.fund(address_of(key), open_wei=FORTUNE_WEI)
        world.must("OpenToken", "approve", world.chain.contracts[contract], 2**256 - 1, key=key)
    for key in (SIGNER_KEY, STRANGER_KEY):
        world.chain.fund(address_of(key))
    world.must("NodeStaking", "bond", DEVELOPMENT_PARAMS.min_stake_wei, key=NODE_KEY)
    staking = staking_domain(world.chain.client.chain_id(), world.chain.contracts["NodeStaking"])
    consent = sign_digest(SIGNER_KEY, signer_consent_digest(NODE, 2**63, staking))
    world.must("NodeStaking", "setSigner", SIGNER, 2**63, consent, key=NODE_KEY)
    _register(world)
    return world


def _register(world: ContractWorld) -> None:
    first = _found(world, OWNER_KEYS[0], TREASURY_1, 100_000)
    second = _found(world, OWNER_KEYS[1], TREASURY_2, 0)
    both = tuple(sorted([(first, 333_333), (second, 666_667)]))
    terms = ((123_457, both), (0, ((second, 1_000_000),)), (7, ()))
    for place, (royalty_ppm, datanets) in enumerate(terms):
        adapter_id, key = ADAPTERS[place + 1], ADAPTER_OWNERS[place]
        ids, weights = [id_ for id_, _ in datanets], [ppm for _, ppm in datanets]
        base, artifact, index = digest("1"), digest("2"), digest("3")
        arguments = (MANIFESTS[place], base, artifact, index, ids, weights, royalty_ppm)
        world.must("ModelRegistry", "register", *arguments, key=key)
        world.registry[adapter_id] = AdapterTerms(owner=address_of(key), royalty_ppm=royalty_ppm, datanets=datanets)


def _found(world: ContractWorld, key: bytes, treasury: Address, owner_ppm: int) -> DatanetId:
    receipt = world.must("DatanetRegistry", "create", "harbour", treasury, owner_ppm, "CC-BY-4.0", 2, key=key)
    [event] = world.events_of(receipt, "DatanetRegistry")
    datanet_id = DatanetId(str(event.arguments["id"]))
    world.datanets[datanet_id] = DatanetTerms(owner=address_of(key), owner_ppm=owner_ppm, treasury=treasury)
    return datanet_id
