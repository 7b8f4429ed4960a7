"""The contracts of one network, typed: their state, and calls that change it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from openledger_protocol.chain import ContractCall, Fees
from openledger_protocol.claims import AdapterTerms, DatanetTerms
from openledger_protocol.eip712 import Domain, datanets_domain, payments_domain, staking_domain
from openledger_protocol.epoch import Params, Windows
from openledger_protocol.errors import MalformedError, RevertedError
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
from openledger_protocol.registry import RegistryEntry
from openledger_protocol.rules import USUAL_RULES, bits_from_rules, common_rules, rules_from_bits
from openledger_protocol.settlement import (
    ClaimRecord,
    EpochClaim,
    Item,
    Payout,
    ReceiptOpening,
    opening_tuple,
)
from openledger_protocol.withdrawal import RowWithdrawal

from ..errors import ChainError
from .client import ChainClient
from .contract_values import ChannelDeposit, Proposal, Stake, UnbondRequest, Withdrawal, params_of, windows_of
from .contracts import explain_revert, load_contract
from .token import Allowance, permit_domain


class Deployment:
    """One network's contracts at their addresses."""

    def __init__(
        self, client: ChainClient, *, chain_id: int, addresses: Mapping[str, Address], deploy_block: int
    ) -> None:
        self._client = client
        self._deploy_block = deploy_block
        self.chain_id = chain_id
        self.addresses = dict(addresses)
        self.payments = payments_domain(chain_id, addresses["PaymentChannels"])
        self.staking = staking_domain(chain_id, addresses["NodeStaking"])
        self.datanets = datanets_domain(chain_id, addresses["DatanetRegistry"])

    @cached_property
    def permits(self) -> Domain | None:
        """The domain of the token's permits; None if it takes none, so that each payment needs an approval first."""
        return permit_domain(self._client, self.addresses["OpenToken"], self.chain_id)

    # ---- state

    def windows(self) -> Windows:
        """Durations of each settlement step on this network."""
        return windows_of(self.ask("Params", "windows"))

    def params(self, epoch: int) -> Params:
        """The parameters that governance has set for an epoch."""
        return params_of(self.ask("Params", "valuesAt", epoch))

    def finalized_number(self) -> int:
        """The number of the newest final block."""
        return self._client.finalized_number()

    def block_time_s(self, number: int) -> int:
        """The time of a block; 0 if the endpoint has none of that number."""
        block = self._client.block(number) if number >= 0 else None
        return block.timestamp_s if block else 0

    def fees(self) -> Fees:
        """Current gas prices."""
        return self._client.fees()

    def channel(self, channel_id: ChannelId, *, block_number: int | None = None) -> ChannelDeposit:
        """A channel's balance at the latest block or an older one; zeros if there is no such channel."""
        if block_number is not None and block_number < self._deploy_block:
            return ChannelDeposit(deposit_wei=ZERO_WEI, claimed_wei=ZERO_WEI)
        row = self.ask("PaymentChannels", "channelOf", channel_id, block_number=block_number)
        return ChannelDeposit(deposit_wei=Wei(row["deposit"]), claimed_wei=Wei(row["claimed"]))

    def lane_claimed_wei(
        self, channel_id: ChannelId, adapter_id: AdapterId, *, block_number: int | None = None
    ) -> Wei:
        """The amount that was ever claimed of a channel for an adapter, as of the latest block or an older one."""
        return Wei(self.ask("PaymentChannels", "laneClaimed", channel_id, adapter_id, block_number=block_number))

    def proposal(self, node: Address, seq: int) -> Proposal:
        """The proposal for a claim, with its draws; all zeros if there is none."""
        row = self.ask("AttributionRewards", "proposalOf", node, seq)
        return Proposal(
            receipts_root=Digest(row["receiptsRoot"]),
            ready_at_s=row["readyAt"],
            draw_block=row["drawBlock"],
            num_redraws=row["redraws"],
            redraws_max=row["redrawsMax"],
        )

    def withdrawal(self, channel_id: ChannelId, *, block_number: int | None = None) -> Withdrawal:
        """The payer's request to withdraw from a channel, as of the latest block or an older one."""
        row = self.ask("PaymentChannels", "withdrawalOf", channel_id, block_number=block_number)
        return Withdrawal(amount_wei=Wei(row["amount"]), ready_at_s=row["readyAt"])

    def stopped_until_s(self) -> int:
        """The end of the guardian's stop of new deposits; 0 if there was none."""
        seconds: int = self.ask("PaymentChannels", "stoppedUntil")
        return seconds

    def next_seq(self, node: Address) -> int:
        """The sequence number of a node's next claim."""
        seq: int = self.ask("PaymentChannels", "nextSeq", node)
        return seq

    def token_balance(self, account: Address) -> Wei:
        """An account's balance in OPEN."""
        return Wei(self.ask("OpenToken", "balanceOf", account))

    def coin_balance(self, account: Address) -> Wei:
        """An account's balance in the chain's own coin."""
        return self._client.coin_balance(account)

    def allowance(self, owner: Address, spender: Address) -> Wei:
        """The OPEN that a contract may still take from an account, as `approve` has set it."""
        return Wei(self.ask("OpenToken", "allowance", owner, spender))

    def permit_nonce(self, owner: Address) -> int:
        """The nonce of an owner's next permit."""
        nonce: int = self.ask("OpenToken", "nonces", owner)
        return nonce

    def slashed_at_s(self, node: Address) -> int:
        """The time of the newest slash of a node; 0 if there was none."""
        return int(self.ask("NodeStaking", "slashedAt", node))

    def stake(self, node: Address) -> Stake:
        """A node's stake."""
        row = self.ask("NodeStaking", "nodeOf", node)
        return Stake(
            bonded_wei=Wei(row["bonded"]),
            unbonding_wei=Wei(row["unbonding"]),
        )

    def payout_of(self, account: Address) -> Address:
        """Where an account's balance of rewards is paid to."""
        return Address(self.ask("AttributionRewards", "payoutOf", account)["payout"])

    def unbond_requests(self, node: Address) -> list[UnbondRequest]:
        """A node's stake that is unbonding."""
        rows = self.ask("NodeStaking", "unbondRequests", node)
        return [UnbondRequest(amount_wei=Wei(row["amount"]), ready_at_s=row["readyAt"]) for row in rows]

    def is_signer(self, node: Address, key: Address) -> bool:
        """Return True if a key may currently sign for a node."""
        return bool(self.ask("NodeStaking", "isSigner", node, key))

    def rewards_balance(self, account: Address) -> Wei:
        """Rewards that are credited to an account and not yet withdrawn."""
        return Wei(self.ask("AttributionRewards", "balanceOf", account))

    def adapter(self, adapter_id: AdapterId) -> AdapterTerms | None:
        """The terms by which claims for an adapter are divided; None if it is not registered."""
        row = self._look_up("ModelRegistry", "termsOf", adapter_id)
        if row is None:
            return None
        return AdapterTerms(
            owner=Address(row["owner"]),
            royalty_ppm=row["royaltyPpm"],
            datanets=_weights(row),
            claimable_until_s=row["claimableUntil"],
        )

    def entry(self, adapter_id: AdapterId) -> RegistryEntry | None:
        """The registry's entry of an adapter; None if it is not registered."""
        row = self._look_up("ModelRegistry", "adapterOf", adapter_id)
        if row is None:
            return None
        datanets = _weights(row)
        return RegistryEntry(
            owner=Address(row["owner"]),
            base=Digest(row["baseDigest"]),
            artifact=Digest(row["artifactDigest"]),
            index_root=Digest(row["indexRoot"]),
            datanets=datanets,
            rules=common_rules(self.rules_of(datanet_id) for datanet_id, _ in datanets),
        )

    def rules_of(self, datanet_id: DatanetId) -> tuple[int, ...]:
        """The attribution rules that a registered Datanet allows, ascending; its owner can't change them."""
        return rules_from_bits(self.ask("DatanetRegistry", "rulesOf", datanet_id))

    def curators_of(self, datanet_id: DatanetId) -> tuple[tuple[Address, ...], int]:
        """The curators of a Datanet, ascending, and how many of them a version needs; none and 0 without curators."""
        row = self.ask("DatanetRegistry", "curatorsOf", datanet_id)
        return tuple(map(Address, row["curators"])), row["need"]

    def datanet(self, datanet_id: DatanetId) -> DatanetTerms | None:
        """The registry's entry of a Datanet; None if it is not registered."""
        row = self._look_up("DatanetRegistry", "datanetOf", datanet_id)
        if row is None:
            return None
        return DatanetTerms(owner=Address(row["owner"]), owner_ppm=row["ownerPpm"], treasury=Address(row["treasury"]))

    # ---- calls that take OPEN from their sender, under a signed allowance or, without one, under an approved one

    def approve(self, spender: str, amount_wei: Wei) -> ContractCall:
        """Let a contract of the network take OPEN from the sender."""
        return self.call("OpenToken", "approve", self.addresses[spender], amount_wei)

    def open_channel(self, config: ChannelConfig, amount_wei: Wei, allowance: Allowance | None) -> ContractCall:
        """Pay into a new channel."""
        return self._pay("PaymentChannels", "open", config, amount_wei, allowance=allowance)

    def top_up(self, config: ChannelConfig, amount_wei: Wei, allowance: Allowance | None) -> ContractCall:
        """Pay more into a channel."""
        return self._pay("PaymentChannels", "topUp", config, amount_wei, allowance=allowance)

    def bond(self, amount_wei: Wei, allowance: Allowance | None) -> ContractCall:
        """Bond stake."""
        return self._pay("NodeStaking", "bond", amount_wei, allowance=allowance)

    # ---- calls of a payer

    def start_withdraw(self, config: ChannelConfig, amount_wei: Wei) -> ContractCall:
        """Request to withdraw the rest of a channel."""
        return self.call("PaymentChannels", "startWithdraw", config, amount_wei)

    def finish_withdraw(self, config: ChannelConfig) -> ContractCall:
        """Withdraw the requested amount."""
        return self.call("PaymentChannels", "finishWithdraw", config)

    # ---- calls of a node

    def unbond(self, amount_wei: Wei) -> ContractCall:
        """Start to unbond stake."""
        return self.call("NodeStaking", "unbond", amount_wei)

    def withdraw_stake(self) -> ContractCall:
        """Withdraw stake whose unbonding period is over."""
        return self.call("NodeStaking", "withdraw")

    def set_signer(self, signer: Address, deadline_s: int, consent: bytes) -> ContractCall:
        """Appoint a hot key to sign for the node, with the key's own consent."""
        return self.call("NodeStaking", "setSigner", signer, deadline_s, consent)

    def set_payout(self, payout: Address, only_self: bool) -> ContractCall:
        """Set where the sender's balance of rewards is paid to, and whether only the sender may have it paid."""
        return self.call("AttributionRewards", "setPayout", payout, only_self)

    def claim(self, claim: EpochClaim, adapters: Sequence[AdapterId], items: Sequence[Item]) -> ContractCall:
        """Claim what channels owe. A signer of the node sends this, so it needs no signature."""
        return self.call("PaymentChannels", "claim", claim, adapters, items, b"")

    def propose(self, record: ClaimRecord, receipts_root: Digest, payouts: Sequence[Payout]) -> ContractCall:
        """Propose the payout list of a claim. Only a signer of the node may."""
        return self.call("AttributionRewards", "propose", record, receipts_root, payouts)

    def draw(self, node: Address, seq: int) -> ContractCall:
        """Let the next block draw points of a claim's payout list. Only a signer of the node may."""
        return self.call("AttributionRewards", "draw", node, seq)

    def finalize(
        self, record: ClaimRecord, payouts: Sequence[Payout], openings: Sequence[ReceiptOpening]
    ) -> ContractCall:
        """Show the drawn points, and credit everybody on the payout list."""
        shown = [opening_tuple(opening) for opening in openings]
        return self.call("AttributionRewards", "finalize", record, payouts, shown)

    def finalize_late(self, record: ClaimRecord) -> ContractCall:
        """Close a claim whose payout list was not proposed, or not shown, in time."""
        return self.call("AttributionRewards", "finalizeLate", record)

    def withdraw_rewards(self, accounts: Sequence[Address]) -> ContractCall:
        """Pay the balance of each account to where it wants it."""
        return self.call("AttributionRewards", "withdraw", accounts)

    # ---- calls of the owners of adapters and Datanets

    def create_datanet(
        self,
        name: str,
        treasury: Address,
        owner_ppm: int,
        licence: str,
        rules: Sequence[int] = USUAL_RULES,
        metadata: str | None = None,
    ) -> ContractCall:
        """Create a Datanet, with a description unless it is None; its id is a hash of its owner and name."""
        terms = (name, treasury, owner_ppm, licence, bits_from_rules(rules))
        if metadata is None:
            return self.call("DatanetRegistry", "create", *terms)
        return self.call("DatanetRegistry", "createDescribed", *terms, metadata)

    def describe_datanet(self, datanet_id: DatanetId, metadata: str) -> ContractCall:
        """Change the description of a Datanet."""
        return self.call("DatanetRegistry", "describe", datanet_id, metadata)

    def set_curators(self, datanet_id: DatanetId, curators: Sequence[Address], need: int) -> ContractCall:
        """Name the curators of a Datanet, ascending, and the number of approvals that a version needs."""
        return self.call("DatanetRegistry", "setCurators", datanet_id, list(curators), need)

    def publish_datanet(
        self, datanet_id: DatanetId, rows_root: Digest, contributors_root: Digest, approvals: Sequence[bytes] = ()
    ) -> ContractCall:
        """Publish a version of a Datanet, with the approvals of its curators if it has any."""
        roots = (datanet_id, rows_root, contributors_root)
        if not approvals:
            return self.call("DatanetRegistry", "publish", *roots)
        return self.call("DatanetRegistry", "publishApproved", *roots, list(approvals))

    def withdraw_rows(self, withdrawal: RowWithdrawal, signature: bytes) -> ContractCall:
        """Withdraw rows of an account; neither it nor the Datanet's owner needs to sign what they send themselves."""
        named = (withdrawal.datanet_id, withdrawal.account, list(withdrawal.rows))
        return self.call("DatanetRegistry", "withdrawRows", *named, signature)

    def commit_rows(self, commitment: Digest) -> ContractCall:
        """Keep the time of a commitment to rows."""
        return self.call("DatanetRegistry", "commit", commitment)

    def committed_at_s(self, commitment: Digest) -> int:
        """The time of the block in which a commitment was first sent; 0 if it was not."""
        return int(self.ask("DatanetRegistry", "committedAt", commitment))

    def register_adapter(
        self, manifest_id: Digest, entry: RegistryEntry, *, royalty_ppm: int, allowance: Allowance | None
    ) -> ContractCall:
        """Register an adapter under a bond. The contract takes the sender as its owner."""
        weights = [weight for _, weight in entry.datanets]
        digests = (manifest_id, entry.base, entry.artifact, entry.index_root)
        arguments = (*digests, list(entry.datanet_ids), weights, royalty_ppm)
        if allowance is None:
            return self.call("ModelRegistry", "register", *arguments)
        return self.call("ModelRegistry", "registerWithPermit", *arguments, allowance.words)

    # ---- any function, for modules that know other contracts

    def ask(self, contract: str, function: str, *arguments: object, block_number: int | None = None) -> Any:
        """Ask a view that always answers; an endpoint that has no sound answer is at fault, and not the node."""
        try:
            return self._view(contract, function, *arguments, block_number=block_number)
        except (RevertedError, MalformedError) as error:
            raise ChainError(
                f"the endpoint answers {contract}.{function} as the contract never does ({error.message}): "
                "try again, and if it happens again, use another endpoint"
            ) from error

    def _view(self, contract: str, function: str, *arguments: object, block_number: int | None = None) -> Any:
        interface = load_contract(contract)
        answer = self._client.call(self.call(contract, function, *arguments), block_number=block_number)
        return interface.decode_result(function, answer)

    def _look_up(self, contract: str, function: str, name: str) -> Any:
        """A registry's entry of a name; None if there is none."""
        try:
            return self._view(contract, function, name)
        except RevertedError as error:
            if explain_revert(error).name.startswith("Unknown"):
                return None
            raise

    def _pay(self, contract: str, function: str, *arguments: object, allowance: Allowance | None) -> ContractCall:
        if allowance is None:
            return self.call(contract, function, *arguments)
        return self.call(contract, f"{function}WithPermit", *arguments, *allowance.words)

    def call(self, contract: str, function: str, *arguments: object) -> ContractCall:
        """A call of one of the network's contracts."""
        return ContractCall(to=self.addresses[contract], data=load_contract(contract).encode(function, *arguments))


def _weights(row: Any) -> tuple[tuple[DatanetId, int], ...]:
    return tuple(zip(map(DatanetId, row["datanetIds"]), row["weightsPpm"], strict=True))
