"""The contracts of one network, typed: what they say, and calls of what they do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openledger_protocol.chain import ContractCall, Fees
from openledger_protocol.claims import AdapterTerms, DatanetTerms
from openledger_protocol.eip712 import Domain, payments_domain, rewards_domain
from openledger_protocol.epoch import Params, Windows
from openledger_protocol.errors import RevertedError
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import (
    ZERO_WEI,
    AdapterId,
    Address,
    ChannelId,
    DatanetId,
    Digest,
    Wei,
)
from openledger_protocol.settlement import ClaimRecord, EpochClaim, Item, Payout

from .client import ChainClient
from .contracts import explain_revert, load_contract


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDeposit:
    """What was paid into a channel and not taken back, and how much of that is claimed."""

    deposit_wei: Wei
    claimed_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What a payer has asked back; amount 0: nothing."""

    amount_wei: Wei
    ready_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """What a node has bonded, and what its bond has earned."""

    bonded_wei: Wei
    unbonding_wei: Wei
    payout: Address
    rewards_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbondRequest:
    """Stake on its way out."""

    amount_wei: Wei
    ready_at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A permit of the token, signed."""

    deadline_s: int
    signature: bytes  # r ‖ s ‖ v

    @property
    def words(self) -> tuple[int, int, bytes, bytes]:
        """deadline, v, r, s as contracts take them."""
        return self.deadline_s, self.signature[64], self.signature[:32], self.signature[32:64]


class Deployment:
    """One network's contracts, by their addresses."""

    def __init__(
        self, client: ChainClient, *, chain_id: int, addresses: Mapping[str, Address], deploy_block: int
    ) -> None:
        self._client = client
        self._deploy_block = deploy_block
        self.chain_id = chain_id
        self.addresses = dict(addresses)
        self.payments = payments_domain(chain_id, addresses["PaymentChannels"])
        self.rewards = rewards_domain(chain_id, addresses["AttributionRewards"])
        self.token = Domain(name="OpenLedger", chain_id=chain_id, verifying_contract=addresses["OpenToken"])

    # ---- what they say

    def windows(self) -> Windows:
        """How long each step lasts on this network."""
        row = self._ask("Params", "windows")
        return Windows(
            epoch_s=row["epoch"],
            propose_s=row["propose"],
            window_s=row["window"],
            response_s=row["response"],
            pause_max_s=row["pauseMax"],
            unbonding_s=row["unbonding"],
            withdraw_delay_min_s=row["withdrawDelayMin"],
            withdraw_delay_max_s=row["withdrawDelayMax"],
            withdraw_period_s=row["withdrawPeriod"],
        )

    def params(self, epoch: int) -> Params:
        """What governance has set for an epoch."""
        row = self._ask("Params", "valuesAt", epoch)
        return Params(
            protocol_ppm=row["protocolPpm"],
            stakers_ppm=row["stakersPpm"],
            data_ppm=row["dataPpm"],
            algo_id=row["algoId"],
            min_stake_wei=Wei(row["minStake"]),
            min_deposit_wei=Wei(row["minDeposit"]),
            adapter_bond_wei=Wei(row["adapterBond"]),
            credit_tokens_max=row["creditTokensMax"],
        )

    def fees(self) -> Fees:
        """What gas costs now."""
        return self._client.fees()

    def channel(self, channel_id: ChannelId, *, block_number: int | None = None) -> ChannelDeposit:
        """A channel's balance, at the latest block or at an older one; zeros where there is none."""
        if block_number is not None and block_number < self._deploy_block:
            return ChannelDeposit(deposit_wei=ZERO_WEI, claimed_wei=ZERO_WEI)
        row = self._ask("PaymentChannels", "channelOf", channel_id, block_number=block_number)
        return ChannelDeposit(deposit_wei=Wei(row["deposit"]), claimed_wei=Wei(row["claimed"]))

    def withdrawal(self, channel_id: ChannelId) -> Withdrawal:
        """What the payer has asked back of a channel."""
        row = self._ask("PaymentChannels", "withdrawalOf", channel_id)
        return Withdrawal(amount_wei=Wei(row["amount"]), ready_at_s=row["readyAt"])

    def next_seq(self, node: Address) -> int:
        """The seq of a node's next claim."""
        seq: int = self._ask("PaymentChannels", "nextSeq", node)
        return seq

    def token_balance(self, account: Address) -> Wei:
        """OPEN at an account."""
        return Wei(self._ask("OpenToken", "balanceOf", account))

    def coin_balance(self, account: Address) -> Wei:
        """The chain's own coin at an account."""
        return self._client.coin_balance(account)

    def permit_nonce(self, owner: Address) -> int:
        """The nonce of an owner's next permit."""
        nonce: int = self._ask("OpenToken", "nonces", owner)
        return nonce

    def stake(self, node: Address) -> Stake:
        """What a node has bonded."""
        row = self._ask("NodeStaking", "nodeOf", node)
        return Stake(
            bonded_wei=Wei(row["bonded"]),
            unbonding_wei=Wei(row["unbonding"]),
            payout=Address(row["payout"]),
            rewards_wei=Wei(row["rewards_"]),
        )

    def payout_of(self, node: Address) -> Address:
        """Where a node's earnings are credited."""
        return Address(self._ask("NodeStaking", "payoutOf", node))

    def unbond_requests(self, node: Address) -> list[UnbondRequest]:
        """Stake that is on its way out."""
        rows = self._ask("NodeStaking", "unbondRequests", node)
        return [UnbondRequest(amount_wei=Wei(row["amount"]), ready_at_s=row["readyAt"]) for row in rows]

    def is_signer(self, node: Address, key: Address) -> bool:
        """Whether a key may sign for a node just now."""
        return bool(self._ask("NodeStaking", "isSigner", node, key))

    def rewards_balance(self, account: Address) -> Wei:
        """What is credited to an account and not taken out."""
        return Wei(self._ask("AttributionRewards", "balanceOf", account))

    def adapter(self, adapter_id: AdapterId) -> AdapterTerms | None:
        """What the registry says of an adapter; None if it is not there."""
        row = self._look_up("ModelRegistry", "adapterOf", adapter_id)
        if row is None:
            return None
        datanets = [DatanetId(datanet) for datanet in row["datanetIds"]]
        return AdapterTerms(
            owner=Address(row["owner"]),
            royalty_ppm=row["royaltyPpm"],
            datanets=tuple(zip(datanets, row["weightsPpm"], strict=True)),
        )

    def index_root(self, adapter_id: AdapterId) -> Digest:
        """The root of a registered adapter's attribution index; zero without one."""
        return Digest(self._ask("ModelRegistry", "adapterOf", adapter_id)["indexRoot"])

    def datanet(self, datanet_id: DatanetId) -> DatanetTerms | None:
        """What the registry says of a Datanet; None if it is not there."""
        row = self._look_up("DatanetRegistry", "datanetOf", datanet_id)
        if row is None:
            return None
        return DatanetTerms(owner=Address(row["owner"]), owner_ppm=row["ownerPpm"], treasury=Address(row["treasury"]))

    # ---- calls of what they do: the payer's

    def open_channel(self, config: ChannelConfig, amount_wei: Wei, allowance: Allowance) -> ContractCall:
        """Pay into a new channel."""
        return self._call("PaymentChannels", "openWithPermit", config, amount_wei, *allowance.words)

    def top_up(self, config: ChannelConfig, amount_wei: Wei, allowance: Allowance) -> ContractCall:
        """Pay more into a channel."""
        return self._call("PaymentChannels", "topUpWithPermit", config, amount_wei, *allowance.words)

    def start_withdraw(self, config: ChannelConfig, amount_wei: Wei) -> ContractCall:
        """Ask for what is left of a channel."""
        return self._call("PaymentChannels", "startWithdraw", config, amount_wei)

    def finish_withdraw(self, config: ChannelConfig) -> ContractCall:
        """Take out what was asked for."""
        return self._call("PaymentChannels", "finishWithdraw", config)

    # ---- the node's

    def bond(self, amount_wei: Wei, allowance: Allowance) -> ContractCall:
        """Bond stake."""
        return self._call("NodeStaking", "bondWithPermit", amount_wei, *allowance.words)

    def unbond(self, amount_wei: Wei) -> ContractCall:
        """Begin to take stake out."""
        return self._call("NodeStaking", "unbond", amount_wei)

    def withdraw_stake(self) -> ContractCall:
        """Take out stake whose time is over."""
        return self._call("NodeStaking", "withdraw")

    def set_signer(self, signer: Address) -> ContractCall:
        """Appoint a hot key."""
        return self._call("NodeStaking", "setSigner", signer)

    def set_payout(self, payout: Address) -> ContractCall:
        """Say where earnings are to be credited."""
        return self._call("NodeStaking", "setPayout", payout)

    def claim_staker_rewards(self) -> ContractCall:
        """Take out what the bond has earned."""
        return self._call("NodeStaking", "claimStakerRewards")

    def claim(self, claim: EpochClaim, adapters: Sequence[AdapterId], items: Sequence[Item]) -> ContractCall:
        """Claim what channels owe; a signer of the node sends it, so no signature is needed."""
        return self._call("PaymentChannels", "claim", claim, adapters, items, b"")

    def propose(
        self, record: ClaimRecord, attribution_root: Digest, leaf_count: int, payouts: Sequence[Payout]
    ) -> ContractCall:
        """Name who is owed; as above."""
        return self._call("AttributionRewards", "propose", record, attribution_root, leaf_count, payouts, b"")

    def finalize(self, record: ClaimRecord, payouts: Sequence[Payout]) -> ContractCall:
        """Credit everybody."""
        return self._call("AttributionRewards", "finalize", record, payouts)

    def finalize_late(self, record: ClaimRecord) -> ContractCall:
        """Close a claim for which nobody was named in time."""
        return self._call("AttributionRewards", "finalizeLate", record)

    def withdraw_rewards(self, to: Address, amount_wei: Wei) -> ContractCall:
        """Take a balance out."""
        return self._call("AttributionRewards", "withdraw", to, amount_wei)

    # ---- owners' of adapters and Datanets

    def create_datanet(self, name: str, treasury: Address, owner_ppm: int, licence: str) -> ContractCall:
        """Make a Datanet; its id is a hash of its owner and name."""
        return self._call("DatanetRegistry", "create", name, treasury, owner_ppm, licence)

    def publish_datanet(self, datanet_id: DatanetId, rows_root: Digest, contributors_root: Digest) -> ContractCall:
        """Publish a version of a Datanet."""
        return self._call("DatanetRegistry", "publish", datanet_id, rows_root, contributors_root)

    def register_adapter(
        self,
        adapter_id: AdapterId,
        *,
        base: Digest,
        artifact: Digest,
        index_root: Digest,
        datanets: Sequence[tuple[DatanetId, int]],
        royalty_ppm: int,
        allowance: Allowance,
    ) -> ContractCall:
        """Register an adapter, with the Datanets that it learned from and their weights, under a bond."""
        ids, weights = [datanet for datanet, _ in datanets], [weight for _, weight in datanets]
        arguments = (adapter_id, base, artifact, index_root, ids, weights, royalty_ppm, allowance.words)
        return self._call("ModelRegistry", "registerWithPermit", *arguments)

    def _ask(self, contract: str, function: str, *arguments: object, block_number: int | None = None) -> Any:
        interface = load_contract(contract)
        answer = self._client.call(self._call(contract, function, *arguments), block_number=block_number)
        return interface.decode_result(function, answer)

    def _look_up(self, contract: str, function: str, name: str) -> Any:
        """What a registry says of a name; None where it knows none such."""
        try:
            return self._ask(contract, function, name)
        except RevertedError as error:
            if explain_revert(error).name.startswith("Unknown"):
                return None
            raise

    def _call(self, contract: str, function: str, *arguments: object) -> ContractCall:
        return ContractCall(to=self.addresses[contract], data=load_contract(contract).encode(function, *arguments))
