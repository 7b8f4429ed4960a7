"""The guest: a requester inside the daemon that pays this node with its own money, as a stranger would.

It lets a single machine produce a receipt and an earning, on development networks only. The guest knows nothing that
a payer on another machine would not know. It has its own ledger and keys, and reaches the node by a stream.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from openledger_protocol.errors import UnavailableError
from openledger_protocol.inference import InferenceRequest
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, Generation, Salt, Wei
from openledger_protocol.wire.inference import Award, Salts

from ..accounting.plain import plain_of
from ..chain.dev.faucet import fund
from ..config import Config
from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..home import Home
from ..keystore import AUTHORIZER, SIGNER, WALLET, ensure_key
from ..ledger.ledger import open_ledger
from ..models.adapters import Adapter
from ..network_file import Network
from ..p2p.transport import PeerId
from ..payments.kept_texts import FORGET_EACH_S, KeptTexts, forget_texts_of_guest, open_texts
from ..payments.payer import Bought, Purchase, open_payer
from ..serving.admission import check_for_sale
from ..serving.service import Serving
from ..settlement.deposits import Deposits
from ..settlement.session import KeyRing, NetworkSession, NodeAccounts
from .selling import SellerStack

GUEST = PeerId("guest")
COINS_WEI = Wei(10**18)
OPEN_WEI = Wei(20 * 10**18)
DEPOSIT_WEI = Wei(10**18)

log = logging.getLogger(__name__)

Show = Callable[[str], Awaitable[None]]


class Guest:
    """A payer that buys from this node."""

    def __init__(
        self,
        session: NetworkSession,
        *,
        seller: SellerStack,
        serving: Serving,
        tokenizer: Tokenizer,
        texts: KeptTexts,
        generation: Callable[[], Generation],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._generation = generation  # of the node's ledger
        self._session = session
        self._seller = seller
        self._serving = serving
        self._texts = texts
        self._payer = open_payer(
            session.ledger,
            domain=session.deployment.payments,
            tokenizer=tokenizer,
            sign=session.ring.signer(session.accounts.authorizer),
            now_ns=time.time_ns,
            keep=texts.keep,
        )
        self._deposits = Deposits(session, deposit_wei=DEPOSIT_WEI, pause=pause)

    async def ask(
        self, request: InferenceRequest, stream_to_node: Callable[[], Awaitable[trio.abc.Stream]], show: Show
    ) -> Bought:
        """Ask once and pay; `show` gets the text piece by piece.

        Raises:
            ProtocolError: the node refused, or broke the agreement.
            ChainError: the guest has no money and can't get any.
        """
        check_for_sale(request)
        adapter = await trio.to_thread.run_sync(self._serving.catalogue.resolve, request.model)
        config = await trio.to_thread.run_sync(self._prepare)
        purchase = await trio.to_thread.run_sync(self._purchase, request, adapter, config)
        return await self._payer.buy(purchase, await stream_to_node(), show)

    def step(self) -> None:
        """Send the guest's own transactions that are due, and delete its texts whose time is over."""
        self._session.send()
        self._texts.forget()

    def reprice(self, seller: SellerStack) -> None:
        """Buy at the seller's new prices."""
        self._seller = seller

    def close(self) -> None:
        """Close its ledger; the chain client belongs to the node."""
        self._session.ledger.close()

    def _prepare(self) -> ChannelConfig:
        """Get money from the faucet if needed, and a channel with the node."""
        session, wallet = self._session, self._session.accounts.wallet
        if session.deployment.token_balance(wallet) < DEPOSIT_WEI:
            fund(session.client, session.network, wallet, coin_wei=COINS_WEI, open_wei=OPEN_WEI)
        return self._deposits.channel_with(self._seller.offer.node, self._generation())

    def _purchase(self, request: InferenceRequest, adapter: Adapter | None, config: ChannelConfig) -> Purchase:
        offer, registry = self._seller.offer, self._seller.registry
        return Purchase(
            request_id=request.request_id,
            award=Award(base=offer.base, terms=offer.terms, tokens_max=request.sampling.max_tokens),
            adapter_id=adapter.id if adapter else BASE_ONLY,
            index_root=(adapter.manifest.index_root if adapter else None) or ZERO_DIGEST,
            datanet_ids=registry.find(adapter).datanet_ids if adapter else (),
            profile_hash=offer.profile_hash,
            algo_id=registry.rule_of(adapter) if adapter else offer.algo_id,
            messages=request.prompt,
            sampling=request.sampling,
            tooling=request.tooling,
            channel_config=config,
            signer=offer.signer,
            salts=Salts(prompt=Salt(_draw()), output=Salt(_draw()), fingerprint=Salt(_draw())),
            chunk_tokens=offer.chunk_tokens,
            cost_max_wei=DEPOSIT_WEI,
            prefix=request.prefix,
        )


class GuestTexts:
    """Deletes the guest's texts whose time is over while the guest is not open."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._next_s = 0.0  # no look before, by the monotonic clock
        self._due_ns: int | None = 0  # when the next text is to go; None: there is none
        self._looked_ns = 0
        self._setting_s: float | None = None  # at the last look
        self._why_not = ""

    def step(self, network: Network, *, setting_s: float) -> None:
        """Look once a minute whether a text is due, and open the guest's ledger only then.

        A guest whose ledger or key is damaged must not stop the node, so it is only logged.
        """
        now_s, now_ns = time.monotonic(), time.time_ns()
        if now_s < self._next_s:
            return
        self._next_s = now_s + FORGET_EACH_S
        is_set_back = now_ns < self._looked_ns  # then texts may lie in the future, and have to be moved
        is_due = self._due_ns is not None and now_ns >= self._due_ns
        if not (is_due or is_set_back or setting_s != self._setting_s):
            return
        self._looked_ns, self._setting_s = now_ns, setting_s
        why_not = ""
        try:
            self._due_ns = forget_texts_of_guest(self._home, network, setting_s=setting_s)
        except (NodeError, OSError) as error:
            self._due_ns, why_not = 0, str(error)
            if why_not != self._why_not:  # said once, and not every minute
                log.warning("texts of the guest whose time is over could not be deleted: %s", why_not)
        self._why_not = why_not


def open_guest(
    home: Home,
    session: NetworkSession,
    config: Config,
    *,
    seller: SellerStack,
    serving: Serving,
    tokenizer: Tokenizer,
) -> Guest:
    """Open the guest of a node on a development network, with its own keys and ledger on the same chain.

    Raises:
        UnavailableError: this is no development network, so no faucet would fund a guest.
    """
    network = session.network
    if not network.is_development:
        raise UnavailableError(f"{network.network} is no development network: a guest can pay only with play money")
    file = home.guest_ledger(network.network)
    folder = file.parent
    wallet, signer, authorizer = (ensure_key(folder / "keys", name) for name in (WALLET, SIGNER, AUTHORIZER))
    ring = KeyRing()
    ring.add(wallet, signer, authorizer)
    own = NetworkSession(
        network=network,
        client=session.client,
        ledger=open_ledger(file),
        accounts=NodeAccounts(wallet=wallet.address, signer=signer.address, authorizer=authorizer.address),
        ring=ring,
        config=config,
    )
    texts = open_texts(folder, own.ledger, setting_s=config.payer.keep_texts_s, is_development=network.is_development)
    return Guest(
        own,
        seller=seller,
        serving=serving,
        tokenizer=tokenizer,
        texts=texts,
        generation=lambda: session.ledger.generations.current.generation,
    )


def bought_to_plain(bought: Bought) -> dict[str, Any]:
    """A purchase for JSON, without the text, which was shown already."""
    return {
        "digest": bought.digest,
        "receipt": plain_of(bought.receipt),
        "shares": [plain_of(share) for share in bought.shares],
        "why_cut": str(bought.why_cut) if bought.why_cut else None,
    }


def _draw() -> Any:
    return "0x" + secrets.token_hex(32)
