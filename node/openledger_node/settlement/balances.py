"""The operator's money, exact to the wei, and plans of transactions that move it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.epoch import epoch_at
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import Address, ChannelId, Digest, Wei
from openledger_protocol.transactions import Intent, Transaction

from ..chain.client import ChainClient
from ..chain.contract_values import UnbondRequest
from ..chain.deployment import Deployment
from ..ledger.claims import ClaimState
from ..ledger.ledger import Ledger
from ..ledger.sums import Movement
from ..text import rfc3339
from .actions import Action, Actor, Sign, intent_of
from .approvals import gas_of, with_approvals
from .records import integer, record_of

NS = 10**9
ON_CHAIN = ("claimed", "proposed", "drawn")
"""States of a claim that is on the chain and not final yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeView:
    """The node's bond, the minimum, and the balances of its wallet."""

    node: Address
    signer: Address
    is_appointed: bool  # the signer is appointed by the wallet
    bonded_wei: Wei
    min_stake_wei: Wei
    unbonding: tuple[UnbondRequest, ...]
    wallet_open_wei: Wei
    wallet_coin_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """One channel, as ledger and chain record it."""

    channel_id: ChannelId
    role: Literal["payer", "node"]
    payer: Address
    node: Address
    deposit_wei: Wei
    charged_wei: Wei  # by receipts
    claimed_wei: Wei  # the part of that which the chain has counted
    ceiling_wei: Wei  # of the highest voucher
    withdrawing_wei: Wei
    ready_at_s: int | None  # when that can be withdrawn, in chain time
    last_receipt_at: str | None = None  # RFC 3339; None before the first charge
    is_retired: bool = False  # of an earlier generation of this ledger: for claims only

    @property
    def left_wei(self) -> Wei:
        """The deposit that can still be charged."""
        return Wei(max(0, self.deposit_wei - max(self.charged_wei, self.claimed_wei) - self.withdrawing_wei))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """One claim and its progress on the chain."""

    seq: int
    state: ClaimState
    epoch: int
    num_receipts: int
    gross_wei: Wei
    node_share_wei: Wei | None  # None until the claim is on the chain
    ready_at_s: int | None  # when it can be drawn, in chain time
    transactions: dict[str, Digest]  # claim, propose, draw, finalize → hash


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardsView:
    """Earnings that were not withdrawn yet, at each stage."""

    payout: Address
    num_unclaimed: int
    unclaimed_wei: Wei  # of receipts in no claim
    why_not_claimed: str | None
    claims: tuple[ClaimView, ...]
    balance_wei: Wei  # credited and not withdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsView:
    """The node's earnings from the first receipt on, by the ledger and by the events of the chain."""

    unclaimed_wei: Wei  # gross, in receipts
    pending_wei: Wei  # the node's share of claims that are not final
    credits: tuple[Movement, ...]  # of the node's share of those that are
    withdrawals: tuple[Movement, ...]
    balance_wei: Wei
    gas_wei: Wei  # paid by the node's signer, in the chain's own coin
    settlements: tuple[ClaimView, ...]
    claimed_at_s: tuple[int, ...]  # of each settlement, in chain time: by its record, or by the ledger before that

    @property
    def credited_wei(self) -> Wei:
        """The sum of all credits."""
        return Wei(sum(credit.amount_wei for credit in self.credits))

    @property
    def withdrawn_wei(self) -> Wei:
        """The sum of all withdrawals."""
        return Wei(sum(withdrawal.amount_wei for withdrawal in self.withdrawals))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTransaction:
    """One planned transaction and the most that it costs."""

    intent: Intent
    gas: int
    fee_wei: Wei  # at the current price of gas, in the chain's own coin


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The accounts of the node's operator, and the signature of the hot one."""

    wallet: Address
    signer: Address
    sign_as_signer: Sign


class Balances:
    """Reads the operator's balances from ledger and chain, and plans transactions."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        client: ChainClient,
        deployment: Deployment,
        operator: Operator,
        why_not: Callable[[], str | None],
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._deployment = deployment
        self._windows = deployment.windows()
        self._operator = operator
        self._why_not = why_not

    # ---- balances

    def stake(self) -> StakeView:
        """The node's bond and wallet."""
        node = self._operator.wallet
        stake = self._deployment.stake(node)
        params = self._deployment.params(epoch_at(self._client.head().timestamp_s, self._windows))
        return StakeView(
            node=node,
            signer=self._operator.signer,
            is_appointed=self._deployment.is_signer(node, self._operator.signer),
            bonded_wei=stake.bonded_wei,
            min_stake_wei=params.min_stake_wei,
            unbonding=tuple(self._deployment.unbond_requests(node)),
            wallet_open_wei=self._deployment.token_balance(node),
            wallet_coin_wei=self._deployment.coin_balance(node),
        )

    def channels(self) -> list[ChannelView]:
        """Every channel in the ledger, whichever side this node is."""
        return [self._channel_view(channel.channel_id, channel.config) for channel in self._ledger.channels.all()]

    def rewards(self) -> RewardsView:
        """Earnings at each stage before their withdrawal, with the newest 20 claims."""
        wallet = self._operator.wallet
        unclaimed = self._ledger.sums.unclaimed(wallet)
        return RewardsView(
            payout=self._deployment.payout_of(wallet),
            num_unclaimed=unclaimed.num_receipts,
            unclaimed_wei=unclaimed.amount_wei,
            why_not_claimed=self._why_not(),
            claims=tuple(view for view, _ in self._claims(limit=20)),
            balance_wei=self._deployment.rewards_balance(wallet),
        )

    def earnings(self) -> EarningsView:
        """All earnings of the node, with every claim."""
        wallet = self._operator.wallet
        claims, sums = list(self._claims()), self._ledger.sums
        return EarningsView(
            unclaimed_wei=sums.unclaimed(wallet).amount_wei,
            pending_wei=Wei(sum(view.node_share_wei or 0 for view, _ in claims if view.state in ON_CHAIN)),
            credits=tuple(sums.credits(wallet)),
            withdrawals=tuple(sums.withdrawals(wallet, self._deployment.addresses["AttributionRewards"])),
            balance_wei=self._deployment.rewards_balance(wallet),
            gas_wei=sums.gas_wei(self._operator.signer),
            settlements=tuple(view for view, _ in claims),
            claimed_at_s=tuple(at_s for _, at_s in claims),
        )

    # ---- transactions

    def plan(self, actions: Sequence[Action], account: Address, sign: Sign, *, key: str) -> list[PlannedTransaction]:
        """Plan the transactions of an account's actions, and simulate each on the latest block.

        A later one may depend on an earlier one and fail for that alone, so only the first must pass.

        Raises:
            RevertedError: the contract refuses the first one.
            ChainError: the chain can't be asked.
        """
        actor = Actor(
            account=account,
            sign=sign,
            sign_as_signer=self._operator.sign_as_signer,
            now_s=self._client.head().timestamp_s,
        )
        intents = [
            intent_of(action, actor, self._deployment, key=f"{key}:{place}")
            for place, action in enumerate(with_approvals(actions, account, self._deployment))
        ]
        fees = self._client.fees()
        return [self._step(intent, Wei(fees.base_wei + fees.tip_wei)) for intent in intents]

    def submit(self, steps: Sequence[PlannedTransaction]) -> list[Transaction]:
        """Store planned transactions in the outbox, which sends them."""
        with self._ledger.transaction():
            return [self._ledger.outbox.add(step.intent) for step in steps]

    def _step(self, intent: Intent, gas_price_wei: Wei) -> PlannedTransaction:
        gas = gas_of(intent, self._client)
        return PlannedTransaction(intent=intent, gas=gas, fee_wei=Wei(gas * gas_price_wei))

    def _channel_view(self, channel_id: ChannelId, config: ChannelConfig) -> ChannelView:
        row = self._ledger.channels.find(channel_id)
        assert row is not None
        balance = self._deployment.channel(channel_id)
        withdrawal = self._deployment.withdrawal(channel_id)
        last = self._ledger.receipts.last_of_channel(channel_id)
        return ChannelView(
            channel_id=channel_id,
            role="node" if config.node == self._operator.wallet else "payer",
            payer=config.payer,
            node=config.node,
            deposit_wei=balance.deposit_wei,
            charged_wei=row.charged_wei,
            claimed_wei=balance.claimed_wei,
            ceiling_wei=row.ceiling_wei,
            withdrawing_wei=withdrawal.amount_wei,
            ready_at_s=withdrawal.ready_at_s or None,
            last_receipt_at=rfc3339(last.receipt.issued_at_s) if last else None,
            is_retired=row.is_retired,
        )

    def _claims(self, *, limit: int | None = None) -> Iterator[tuple[ClaimView, int]]:
        """Show claims, newest first, each with the chain time at which it was made.

        Three queries in all, however many claims there are: a node that has run for a year has thousands.
        """
        claims, node = self._ledger.claims.newest(limit=limit), self._operator.wallet
        hashes = self._ledger.claims.mined_hashes(limit=limit)
        events = self._ledger.events.about_claims(node, seq_min=min((claim.seq for claim in claims), default=0))
        last = {(event.name, integer(event, "seq")): event for event in events}
        for claim in claims:
            claimed = last.get(("Claimed", claim.seq))
            is_ours = claimed is not None and claimed.transaction_hash == hashes.get(claim.key)
            record = record_of(claimed) if claimed and is_ours else None
            proposed, drawn, finalized = (last.get((name, claim.seq)) for name in ("Proposed", "Drawn", "Finalized"))
            reached = {
                "claim": hashes.get(claim.key),
                "propose": proposed and proposed.transaction_hash,
                "draw": drawn and drawn.transaction_hash,
                "finalize": finalized and finalized.transaction_hash,
            }
            view = ClaimView(
                seq=claim.seq,
                state=claim.state,
                epoch=claim.epoch,
                num_receipts=claim.num_receipts,
                gross_wei=claim.gross_wei,
                node_share_wei=record.node_share_wei if record else None,
                ready_at_s=integer(proposed, "readyAt") if proposed else None,
                transactions={name: hash for name, hash in reached.items() if hash},
            )
            yield view, record.claimed_at_s if record else claim.created_s
