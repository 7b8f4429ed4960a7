"""A simulated network with everybody on it who takes part in a payment: payer, node, owners, and a stranger."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS, DEVELOPMENT_WINDOWS
from openledger_protocol.chain import TransactionReceipt
from openledger_protocol.claims import AdapterTerms, ChannelBalance, DatanetTerms
from openledger_protocol.eip712 import Domain, payments_domain, rewards_domain
from openledger_protocol.epoch import Params, epoch_at
from openledger_protocol.events import Event
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, ChannelId, DatanetId, Salt, Wei
from openledger_protocol.settlement import EpochClaim, Item, items_hash
from openledger_protocol.signatures import address_of, sign_digest

from .chains import DeployedChain, deployed_chain
from .signed import AUTHORIZER, AUTHORIZER_KEY, NODE, NODE_KEY, PAYER, PAYER_KEY, SIGNER, SIGNER_KEY, account, digest

OWNER_KEYS = [bytes([number]) * 32 for number in range(11, 15)]
STRANGER_KEY = b"\x21" * 32
PROTOCOL, PAYOUT, TREASURY_1, TREASURY_2 = (account(number) for number in range(0x51, 0x55))

FORTUNE_WEI = 10**27
DEPOSIT_WEI = 10**20
WITHDRAW_DELAY_S = 40
ADAPTERS = [BASE_ONLY, *(AdapterId(digest(digit)) for digit in "abc")]
"""The base alone; one of two Datanets; one of one; one of none."""


@dataclass(kw_only=True)
class Stage:
    """The network, and what its registries say, as our own values."""

    chain: DeployedChain
    params: Params
    registry: dict[AdapterId, AdapterTerms] = field(default_factory=dict)
    datanets: dict[DatanetId, DatanetTerms] = field(default_factory=dict)
    num_channels: int = 0

    @property
    def payments(self) -> Domain:
        """The domain of PaymentChannels."""
        return payments_domain(self.chain.client.chain_id(), self.chain.contracts["PaymentChannels"])

    @property
    def rewards(self) -> Domain:
        """The domain of AttributionRewards."""
        return rewards_domain(self.chain.client.chain_id(), self.chain.contracts["AttributionRewards"])

    @property
    def now_s(self) -> int:
        """The latest block's time."""
        return self.chain.client.head().timestamp_s

    def must(self, contract: str, function: str, *arguments: object, key: bytes) -> TransactionReceipt:
        """Send what has to succeed."""
        receipt = self.chain.send(contract, function, *arguments, key=key)
        assert receipt.is_ok, f"{contract}.{function} was refused"
        return receipt

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
        """Open a channel of the payer's."""
        config = self.new_config(**changes)
        self.must("PaymentChannels", "open", config, amount_wei, key=PAYER_KEY)
        return config

    def id_of(self, config: ChannelConfig) -> ChannelId:
        """The channel's id on this network."""
        return channel_id(config, self.payments)

    def balance(self, config: ChannelConfig) -> ChannelBalance:
        """What the chain says of a channel."""
        row = self.chain.read("PaymentChannels", "channelOf", self.id_of(config))
        return ChannelBalance(deposit_wei=Wei(row["deposit"]), claimed_wei=Wei(row["claimed"]))

    def voucher(self, config: ChannelConfig, max_claimable_wei: int, *, key: bytes = AUTHORIZER_KEY) -> SignedVoucher:
        """A voucher for a channel."""
        voucher = Voucher(channel_id=self.id_of(config), max_claimable_wei=Wei(max_claimable_wei))
        return SignedVoucher(voucher=voucher, signature=sign_digest(key, voucher_digest(voucher, self.payments)))

    def claim_of(self, items: Sequence[Item], adapters: Sequence[AdapterId] = ADAPTERS, **changes: Any) -> EpochClaim:
        """The node's next claim, for these items."""
        fields: dict[str, Any] = {
            "node": NODE,
            "seq": self.chain.read("PaymentChannels", "nextSeq", NODE),
            "epoch": epoch_at(self.now_s + 1, DEVELOPMENT_WINDOWS),
            "items_hash": items_hash(adapters, items),
            "receipts_root": digest("e"),
            "count": len(items),
        }
        return EpochClaim(**{**fields, **changes})

    def events_of(self, receipt: TransactionReceipt, contract: str) -> list[Event]:
        """What a contract said in one transaction."""
        found = self.chain.events(contract, first=receipt.block_number)
        return [event for event in found if event.transaction_hash == receipt.transaction_hash]

    def balance_of(self, account_: Address) -> int:
        """What is credited to an account."""
        found: int = self.chain.read("AttributionRewards", "balanceOf", account_)
        return found


def staged(*, params: Params = DEVELOPMENT_PARAMS) -> Stage:
    """Deploy, fund everybody, bond the node, found two Datanets and register three adapters."""
    stage = Stage(chain=deployed_chain(params=params, treasury=PROTOCOL), params=params)
    people = {PAYER_KEY: "PaymentChannels", NODE_KEY: "NodeStaking", **dict.fromkeys(OWNER_KEYS, "ModelRegistry")}
    for key, contract in people.items():
        stage.chain.fund(address_of(key), open_wei=FORTUNE_WEI // 100)
        stage.must("OpenToken", "approve", stage.chain.contracts[contract], 2**256 - 1, key=key)
    for key in (SIGNER_KEY, STRANGER_KEY):
        stage.chain.fund(address_of(key))
    stage.must("NodeStaking", "bond", params.min_stake_wei, key=NODE_KEY)
    stage.must("NodeStaking", "setSigner", SIGNER, key=NODE_KEY)
    stage.must("NodeStaking", "setPayout", PAYOUT, key=NODE_KEY)
    _register(stage)
    return stage


def _register(stage: Stage) -> None:
    first = _found(stage, OWNER_KEYS[0], TREASURY_1, 100_000)
    second = _found(stage, OWNER_KEYS[1], TREASURY_2, 0)
    both = tuple(sorted([(first, 333_333), (second, 666_667)]))
    for adapter_id, key, royalty_ppm, datanets in (
        (ADAPTERS[1], OWNER_KEYS[2], 123_457, both),
        (ADAPTERS[2], OWNER_KEYS[3], 0, ((second, 1_000_000),)),
        (ADAPTERS[3], OWNER_KEYS[2], 7, ()),
    ):
        ids, weights = [id_ for id_, _ in datanets], [ppm for _, ppm in datanets]
        base, artifact, index = digest("1"), digest("2"), digest("3")
        arguments = (adapter_id, base, artifact, index, ids, weights, royalty_ppm)
        stage.must("ModelRegistry", "register", *arguments, key=key)
        stage.registry[adapter_id] = AdapterTerms(owner=address_of(key), royalty_ppm=royalty_ppm, datanets=datanets)


def _found(stage: Stage, key: bytes, treasury: Address, owner_ppm: int) -> DatanetId:
    receipt = stage.must("DatanetRegistry", "create", "harbour", treasury, owner_ppm, "CC-BY-4.0", key=key)
    [event] = stage.events_of(receipt, "DatanetRegistry")
    datanet_id = DatanetId(str(event.arguments["id"]))
    stage.datanets[datanet_id] = DatanetTerms(owner=address_of(key), owner_ppm=owner_ppm, treasury=treasury)
    return datanet_id
