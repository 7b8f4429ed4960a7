"""The selling half of a node: paid streams over the serving service, with credit by the chain, and attribution."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from openledger_protocol.attribution import Share
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Address, ChannelId, Digest, RequestId, Wei
from openledger_protocol.rules import TEXT_RULE

from ..attribution.registry import AdapterRegistry
from ..attribution.service import exchange_of, open_attributor, registered_shares
from ..chain.deployment import Deployment
from ..config import Config
from ..engine.backend import Profile
from ..engine.profile_hash import profile_hash
from ..engine.tokenizer import Tokenizer
from ..models.adapters import Adapter
from ..p2p.transport import PeerId
from ..payments.accounts import ChannelAccounts
from ..payments.asked_receipts import AskedReceipts
from ..payments.credit import Standing
from ..payments.delivery import SellerTerms
from ..payments.generations import ChannelGenerations
from ..payments.receipts import Delivered, ReceiptMaker, ReceiptTerms
from ..payments.seller import StreamSeller
from ..serving.service import Serving
from ..settlement.session import NetworkSession

STANDING_AGE_S = 1.0
"""The chain's answer about a channel is reused for this long, about one block."""

BLOCK_LAG_S = 2.0
"""The chain is asked again after this long if it has no deposit: the payer's endpoint may be a block ahead."""

STANDINGS_MAX = 4096
CHAIN_QUESTIONS_MAX = 8
"""The most threads that ask the chain at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The facts that a payer needs to buy from this node."""

    node: Address
    signer: Address
    base: Digest
    terms: Terms
    profile_hash: Digest
    algo_id: int  # the attribution rule of the base alone, and of adapters whose Datanets allow no other
    chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SellerStack:
    """The seller of paid streams, with its receipts, its offer and the adapter registry."""

    paid: StreamSeller
    receipts: ReceiptMaker
    offer: Offer
    registry: AdapterRegistry


def open_seller(
    session: NetworkSession,
    *,
    serving: Serving,
    tokenizer: Tokenizer,
    profile: Profile,
    registry: AdapterRegistry,
    config: Config,
    nursery: trio.Nursery,
    terms_of: Callable[[PeerId, RequestId], Terms | None] = lambda _, __: None,
) -> SellerStack:
    """Open the seller; `terms_of` returns the terms of a bid that is still valid, which override the usual ones."""
    market = config.market
    offer = Offer(
        node=session.accounts.wallet,
        signer=session.accounts.signer,
        base=serving.base.digest,
        terms=Terms(price_in_wei=Wei(market.price_in_wei), price_out_wei=Wei(market.price_out_wei)),
        profile_hash=profile_hash(serving.base.digest, profile),
        algo_id=TEXT_RULE,
        chunk_tokens=market.credit_tokens_max,
    )
    accounts = _accounts(session, config)
    receipts = ReceiptMaker(
        is_stopping=lambda: serving.is_draining,
        ledger=session.ledger,
        accounts=accounts,
        domain=session.deployment.payments,
        tokenizer=tokenizer,
        same=ReceiptTerms(profile_hash=offer.profile_hash),
        attribute=lambda delivered: shares_of(delivered, registry, tokenizer),
        sign=session.ring.signer(session.accounts.signer),
        now_ns=time.time_ns,
        fail_point=session.fail_point,
    )

    async def check_sellable(adapter: Adapter) -> int:
        return await trio.to_thread.run_sync(registry.check_sellable, adapter)

    seller_terms = SellerTerms(
        node=offer.node,
        terms=offer.terms,
        windows=session.windows,
        chunk_tokens=offer.chunk_tokens,
        voucher_timeout_s=market.voucher_timeout_s,
    )
    paid = StreamSeller(
        serving=serving,
        seller_terms=seller_terms,
        accounts=accounts,
        receipts=receipts,
        asked=AskedReceipts(
            node=offer.node,
            ledger=session.ledger,
            accounts=accounts,
            receipts=receipts,
            domain=session.deployment.payments,
            now_ns=time.time_ns,
        ),
        check_sellable=check_sellable,
        nursery=nursery,
        terms_of=terms_of,
        fail_point=session.fail_point,
    )
    return SellerStack(paid=paid, receipts=receipts, offer=offer, registry=registry)


class ChannelStandings:
    """Channels as the chain knows them, asked at most once a block."""

    def __init__(self, deployment: Deployment, finalized_number: Callable[[], int]) -> None:
        self._deployment = deployment
        self._finalized_number = finalized_number
        self._limiter = trio.CapacityLimiter(CHAIN_QUESTIONS_MAX)
        self._known: dict[
            ChannelId, tuple[float, Standing]
        ] = {}  # bounded: a stranger may name any number of channels

    async def ask(self, channel_id: ChannelId) -> Standing:
        """The standing of a channel.

        Raises:
            ChainError: the chain can't be asked.
        """
        asked_s, standing = self._known.get(channel_id, (-STANDING_AGE_S, Standing()))
        if trio.current_time() - asked_s >= STANDING_AGE_S:
            asked_s = trio.current_time()
            standing = await trio.to_thread.run_sync(
                self._ask, channel_id, abandon_on_cancel=True, limiter=self._limiter
            )
            self._known.pop(channel_id, None)
            self._known[channel_id] = (asked_s, standing)
            if len(self._known) > STANDINGS_MAX:
                self._known.pop(next(iter(self._known)))
        return standing

    def _ask(self, channel_id: ChannelId) -> Standing:
        final = self._deployment.channel(channel_id, block_number=self._finalized_number())
        latest = self._deployment.channel(channel_id)
        return Standing(
            deposit_final_wei=final.deposit_wei,
            deposit_latest_wei=latest.deposit_wei,
            claimed_wei=latest.claimed_wei,
            withdrawing_wei=self._deployment.withdrawal(channel_id).amount_wei,
        )


def shares_of(delivered: Delivered, registry: AdapterRegistry, tokenizer: Tokenizer) -> tuple[Share, ...]:
    """The shares of an answer among contributors."""
    if delivered.adapter is None:
        return ()
    registered = registry.find_at(delivered.adapter, delivered.issued_at_s)
    exchange = exchange_of(delivered.opened.messages, delivered.text, tokenizer)
    attributor = open_attributor(delivered.algo_id)
    return registered_shares(attributor, registered, replace(exchange, signals=delivered.signals))


def _accounts(session: NetworkSession, config: Config) -> ChannelAccounts:
    return ChannelAccounts(
        ledger=session.ledger,
        domain=session.deployment.payments,
        generations=ChannelGenerations(
            session.ledger,
            network=session.network.network,
            domain=session.deployment.payments,
            signer=session.accounts.signer,
            now_ns=time.time_ns,
        ),
        credit_wei=Wei(config.market.unsecured_credit_wei),
        ask_standing=ChannelStandings(session.deployment, session.client.finalized_number).ask,
        now_ns=time.time_ns,
        block_lag_s=BLOCK_LAG_S,
        fail_point=session.fail_point,
    )
