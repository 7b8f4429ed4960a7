"""What the operator sees of the money, exact to the wei, and what may be done with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.epoch import epoch_at
from openledger_protocol.events import Event
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.payouts import CreditRole
from openledger_protocol.primitives import Address, ChannelId, Digest, Wei
from openledger_protocol.transactions import Intent, Transaction

from ..chain.client import ChainClient
from ..chain.deployment import Deployment, UnbondRequest
from ..ledger.claims import ClaimState
from ..ledger.ledger import Ledger
from ..text import rfc3339
from .actions import Action, Actor, Sign, intent_of
from .records import integer, record_of

NS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeView:
    """What the node has bonded, and what it needs."""

    node: Address
    signer: Address
    is_appointed: bool  # the signer, by the wallet
    bonded_wei: Wei
    min_stake_wei: Wei
    unbonding: tuple[UnbondRequest, ...]
    payout: Address
    rewards_wei: Wei  # that the bond has earned
    wallet_open_wei: Wei
    wallet_coin_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """One channel, by the ledger and by the chain."""

    channel_id: ChannelId
    role: Literal["payer", "node"]
    payer: Address
    node: Address
    deposit_wei: Wei
    charged_wei: Wei  # by receipts
    claimed_wei: Wei  # of that, on the chain
    ceiling_wei: Wei  # of the highest voucher
    withdrawing_wei: Wei
    ready_at_s: int | None  # when that may be taken out, in chain time
    last_receipt_at: str | None = None  # RFC 3339; None: nothing was charged yet

    @property
    def left_wei(self) -> Wei:
        """What may still be charged to it."""
        return Wei(max(0, self.deposit_wei - max(self.charged_wei, self.claimed_wei) - self.withdrawing_wei))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """One claim and how far it has come."""

    seq: int
    state: ClaimState
    epoch: int
    num_receipts: int
    gross_wei: Wei
    node_share_wei: Wei | None  # None: not on the chain yet
    ready_at_s: int | None  # when it may be made final, in chain time
    transactions: dict[str, Digest]  # claim, propose, finalize → hash


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardsView:
    """What was earned, at each stage of its way."""

    payout: Address
    num_unclaimed: int
    unclaimed_wei: Wei  # receipts that no claim holds
    why_not_claimed: str | None
    claims: tuple[ClaimView, ...]
    balance_wei: Wei  # credited, to be withdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsView:
    """The node's earnings from the first receipt on, by the ledger and by the events of the chain."""

    unclaimed_wei: Wei  # gross, in receipts
    pending_wei: Wei  # the node's share of claims that are not final
    credited_wei: Wei  # the node's share of those that are
    withdrawn_wei: Wei
    balance_wei: Wei
    gas_wei: Wei  # paid by the node's signer, in the chain's own coin
    settlements: tuple[ClaimView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTransaction:
    """One transaction that is planned: what it does and what it may cost."""

    intent: Intent
    gas: int
    fee_wei: Wei  # at today's price of gas, in the chain's own coin


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Whose money this is."""

    wallet: Address
    signer: Address


class Balances:
    """Answers what there is, and turns wishes into intents."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        client: ChainClient,
        deployment: Deployment,
        party: Operator,
        why_not: Callable[[], str | None],
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._deployment = deployment
        self._windows = deployment.windows()
        self._party = party
        self._why_not = why_not

    # ---- what there is

    def stake(self) -> StakeView:
        """The node's stake."""
        node = self._party.wallet
        stake = self._deployment.stake(node)
        params = self._deployment.params(epoch_at(self._client.head().timestamp_s, self._windows))
        return StakeView(
            node=node,
            signer=self._party.signer,
            is_appointed=self._deployment.is_signer(node, self._party.signer),
            bonded_wei=stake.bonded_wei,
            min_stake_wei=params.min_stake_wei,
            unbonding=tuple(self._deployment.unbond_requests(node)),
            payout=self._deployment.payout_of(node),
            rewards_wei=stake.rewards_wei,
            wallet_open_wei=self._deployment.token_balance(node),
            wallet_coin_wei=self._deployment.coin_balance(node),
        )

    def channels(self) -> list[ChannelView]:
        """Every channel of the ledger, as either side."""
        return [self._channel_view(channel.channel_id, channel.config) for channel in self._ledger.channels.all()]

    def rewards(self) -> RewardsView:
        """What was earned and not taken out."""
        payout = self._deployment.payout_of(self._party.wallet)
        unclaimed = self._unclaimed()
        return RewardsView(
            payout=payout,
            num_unclaimed=len(unclaimed),
            unclaimed_wei=Wei(sum(unclaimed)),
            why_not_claimed=self._why_not(),
            claims=tuple(self._claims(limit=20)),
            balance_wei=self._deployment.rewards_balance(payout),
        )

    def earnings(self) -> EarningsView:
        """All that the node has earned."""
        payout = self._deployment.payout_of(self._party.wallet)
        claims = self._claims(limit=1_000_000)
        shares = [(claim.state, claim.node_share_wei or 0) for claim in claims]
        withdrawn = self._ledger.events.find("Withdrawn", {"account": payout})
        spent = [found.fee_wei or 0 for found in self._transactions() if found.intent.sender == self._party.signer]
        return EarningsView(
            unclaimed_wei=Wei(sum(self._unclaimed())),
            pending_wei=Wei(sum(share for state, share in shares if state in ("claimed", "proposed"))),
            credited_wei=Wei(sum(integer(event, "amount") for event in self._credited(payout))),
            withdrawn_wei=Wei(sum(integer(event, "amount") for event in withdrawn)),
            balance_wei=self._deployment.rewards_balance(payout),
            gas_wei=Wei(sum(spent)),
            settlements=tuple(claims),
        )

    # ---- what is wanted

    def plan(self, actions: Sequence[Action], account: Address, sign: Sign, *, key: str) -> list[PlannedTransaction]:
        """The transactions of an account's actions, each tried against the latest block.

        A later one may hang on an earlier one, and be refused today for that alone: only the first must pass.

        Raises:
            RevertedError: the contract refuses the first.
            ChainError: the chain can't be asked.
        """
        actor = Actor(account=account, sign=sign, now_s=self._client.head().timestamp_s)
        intents = [
            intent_of(action, actor, self._deployment, key=f"{key}:{place}") for place, action in enumerate(actions)
        ]
        fees = self._client.fees()
        return [self._step(intent, Wei(fees.base_wei + fees.tip_wei)) for intent in intents]

    def want(self, steps: Sequence[PlannedTransaction]) -> list[Transaction]:
        """Have planned transactions sent."""
        with self._ledger.transaction():
            return [self._ledger.outbox.add(step.intent) for step in steps]

    def _step(self, intent: Intent, gas_price_wei: Wei) -> PlannedTransaction:
        gas = self._client.estimate_gas(intent.call, sender=intent.sender)
        return PlannedTransaction(intent=intent, gas=gas, fee_wei=Wei(gas * gas_price_wei))

    def _channel_view(self, channel_id: ChannelId, config: ChannelConfig) -> ChannelView:
        row = self._ledger.channels.find(channel_id)
        assert row is not None
        balance = self._deployment.channel(channel_id)
        withdrawal = self._deployment.withdrawal(channel_id)
        last = self._ledger.receipts.last_of_channel(channel_id)
        return ChannelView(
            channel_id=channel_id,
            role="node" if config.node == self._party.wallet else "payer",
            payer=config.payer,
            node=config.node,
            deposit_wei=balance.deposit_wei,
            charged_wei=row.charged_wei,
            claimed_wei=balance.claimed_wei,
            ceiling_wei=row.ceiling_wei,
            withdrawing_wei=withdrawal.amount_wei,
            ready_at_s=withdrawal.ready_at_s or None,
            last_receipt_at=rfc3339(last.receipt.seq // NS) if last else None,
        )

    def _unclaimed(self) -> list[int]:
        ours = {
            channel.channel_id for channel in self._ledger.channels.all() if channel.config.node == self._party.wallet
        }
        rows = self._ledger.receipts.unclaimed()
        return [row.receipt.amount_wei for row in rows if row.receipt.channel_id in ours]

    def _credited(self, payout: Address) -> list[Event]:
        """What the chain has credited for the node's own work."""
        found = self._ledger.events.find("Credited", {"account": payout, "node": self._party.wallet})
        return [event for event in found if event.arguments["role"] == CreditRole.NODE]

    def _claims(self, *, limit: int) -> list[ClaimView]:
        return [
            ClaimView(
                seq=claim.seq,
                state=claim.state,
                epoch=claim.epoch,
                num_receipts=claim.num_receipts,
                gross_wei=claim.gross_wei,
                node_share_wei=self._node_share(claim.seq, claim.items_hash),
                ready_at_s=self._ready_at(claim.seq),
                transactions=self._hashes(claim.key, claim.seq),
            )
            for claim in self._ledger.claims.newest(limit=limit)
        ]

    def _node_share(self, seq: int, items_hash: Digest) -> Wei | None:
        found = self._ledger.events.find("Claimed", {"node": self._party.wallet, "seq": seq})
        records = [record_of(event) for event in found]
        shares = [record.node_share_wei for record in records if record.items_hash == items_hash]
        return shares[-1] if shares else None

    def _ready_at(self, seq: int) -> int | None:
        found = self._ledger.events.find("Proposed", {"node": self._party.wallet, "seq": seq})
        return integer(found[-1], "readyAt") if found else None

    def _hashes(self, key: str, seq: int) -> dict[str, Digest]:
        """The transactions that brought a claim so far."""
        claimed = self._ledger.outbox.find(key)
        hashes = {"claim": claimed.mined_hash} if claimed and claimed.mined_hash else {}
        for name, verb in (("Proposed", "propose"), ("Finalized", "finalize")):
            if found := self._ledger.events.find(name, {"node": self._party.wallet, "seq": seq}):
                hashes[verb] = found[-1].transaction_hash
        return hashes

    def _transactions(self) -> list[Transaction]:
        return self._ledger.outbox.newest(limit=1_000_000)
