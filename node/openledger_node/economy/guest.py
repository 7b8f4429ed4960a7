"""The guest: a throwaway requester within the daemon, with money of its own, who pays this node as a stranger would.

One machine alone thus shows a receipt and an earning, on development networks only. It knows nothing that a payer on
another machine would not: it has its own ledger, its own keys, and reaches the node by a stream.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from openledger_protocol.errors import UnavailableError
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.payments import ChannelConfig, channel_id
from openledger_protocol.primitives import (
    BASE_ONLY,
    ZERO_DIGEST,
    ChannelId,
    DatanetId,
    Nonce,
    RequestId,
    Salt,
    Wei,
)
from openledger_protocol.wire.inference import Award, Salts

from ..chain.faucet import fund
from ..config import Config
from ..home import Home
from ..inference.adapters import Adapter
from ..inference.tokenizer import Tokenizer
from ..keystore import AUTHORIZER, SIGNER, WALLET, ensure_key
from ..ledger.ledger import open_ledger
from ..market.payer import Bought, Payer, Purchase
from ..market.wallet import PayerWallet
from ..p2p.transport import PeerId, Transport
from ..settlement.actions import Action, OpenChannel, TopUp
from .economy import Accounts, Economy
from .keyring import KeyRing
from .registry import Registry
from .selling import Offer

INFER_PROTOCOL = "/openledger/{network}/infer/1"
COINS_WEI = Wei(10**18)
OPEN_WEI = Wei(20 * 10**18)
DEPOSIT_WEI = Wei(10**18)
LOW_WEI = Wei(DEPOSIT_WEI // 4)
"""Below this the guest tops its channel up."""

WITHDRAW_DELAY_S = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the guest is to ask."""

    messages: tuple[Message, ...]
    adapter: Adapter | None
    sampling: SamplingParams
    auditable: bool


class Guest:
    """Buys from this node."""

    def __init__(
        self,
        economy: Economy,
        *,
        offer: Offer,
        registry: Registry,
        tokenizer: Tokenizer,
        transport: Transport,
        node: PeerId,
    ) -> None:
        self.economy = economy
        self._offer = offer
        self._registry = registry
        self._transport = transport
        self._node = node
        sign = economy.ring.signer(economy.accounts.authorizer)
        domain = economy.deployment.payments
        wallet = PayerWallet(ledger=economy.ledger, domain=domain, sign=sign, now_ns=time.time_ns)
        self._payer = Payer(wallet=wallet, domain=domain, tokenizer=tokenizer, sign=sign, now_ns=time.time_ns)
        self._preparing = trio.Lock()

    async def ask(self, wish: Wish, show: Callable[[str], Awaitable[None]]) -> Bought:
        """Ask once, and pay.

        Raises:
            ProtocolError: the node refused, or did not keep what was agreed.
            ChainError: there was no money to be had.
        """
        async with self._preparing:
            config = await trio.to_thread.run_sync(self._prepare)
        datanet_ids = await trio.to_thread.run_sync(self._datanet_ids, wish.adapter)
        purchase = self._purchase(wish, config, datanet_ids)
        stream = await self._transport.open_stream(
            self._node, INFER_PROTOCOL.format(network=self.economy.network.network)
        )
        return await self._payer.buy(purchase, stream, show)

    def step(self) -> None:
        """Bring the guest's own transactions on."""
        self.economy.outbox.step()

    def _prepare(self) -> ChannelConfig:
        """Have money, and a channel that is open or about to be: the first answer comes on credit meanwhile."""
        economy, wallet = self.economy, self.economy.accounts.wallet
        if economy.deployment.token_balance(wallet) < DEPOSIT_WEI:
            fund(economy.client, economy.network, wallet, coin_wei=COINS_WEI, open_wei=OPEN_WEI)
        known = [
            row
            for row in economy.ledger.channels.of_payer(wallet)
            if row.config.node == self._offer.node and not economy.deployment.withdrawal(row.channel_id).amount_wei
        ]
        if not known:
            return self._open()
        row = known[-1]
        left = economy.deployment.channel(row.channel_id).deposit_wei - row.ceiling_wei
        if left < LOW_WEI:
            self._pay_in(TopUp(config=row.config, amount_wei=DEPOSIT_WEI), row.channel_id)
        return row.config

    def _open(self) -> ChannelConfig:
        accounts = self.economy.accounts
        config = ChannelConfig(
            payer=accounts.wallet,
            authorizer=accounts.authorizer,
            node=self._offer.node,
            withdraw_delay_s=WITHDRAW_DELAY_S,
            salt=Salt("0x" + secrets.token_hex(32)),
        )
        key = channel_id(config, self.economy.deployment.payments)
        self.economy.ledger.channels.ensure(key, config, now_ns=time.time_ns())
        self._pay_in(OpenChannel(config=config, amount_wei=DEPOSIT_WEI), key)
        return config

    def _pay_in(self, action: Action, key: ChannelId) -> None:
        """Want a deposit, unless one is on its way to that channel."""
        unfinished = self.economy.ledger.outbox.unfinished()
        if any(found.intent.key.startswith(f"guest:{key}") for found in unfinished if found.state not in ("mined",)):
            return
        wallet = self.economy.accounts.wallet
        name = f"guest:{key}:{time.time_ns()}"
        steps = self.economy.treasury.plan([action], wallet, self.economy.ring.signer(wallet), key=name)
        self.economy.treasury.want(steps)
        self.economy.outbox.step()

    def _datanet_ids(self, adapter: Adapter | None) -> tuple[DatanetId, ...]:
        return self._registry.find(adapter).datanet_ids if adapter else ()

    def _purchase(self, wish: Wish, config: ChannelConfig, datanet_ids: tuple[DatanetId, ...]) -> Purchase:
        offer = self._offer
        return Purchase(
            request_id=RequestId(_draw()),
            award=Award(base=offer.base, terms=offer.terms, tokens_max=wish.sampling.max_tokens),
            adapter_id=wish.adapter.id if wish.adapter else BASE_ONLY,
            index_root=(wish.adapter.manifest.index_root if wish.adapter else None) or ZERO_DIGEST,
            datanet_ids=datanet_ids,
            profile_hash=offer.profile_hash,
            algo_id=offer.algo_id,
            messages=wish.messages,
            sampling=wish.sampling,
            channel_config=config,
            signer=offer.signer,
            salts=Salts(prompt=Salt(_draw()), output=Salt(_draw()), fingerprint=Salt(_draw())),
            nonce=Nonce(_draw()),
            auditable=wish.auditable,
            chunk_tokens=offer.chunk_tokens,
            cost_max_wei=DEPOSIT_WEI,
        )


def open_guest_economy(home: Home, economy: Economy, config: Config) -> Economy:
    """The guest's own money: keys and ledger of its own, the same chain.

    Raises:
        UnavailableError: this is no development network, where nobody would give it anything.
    """
    network = economy.network
    if not network.is_development:
        raise UnavailableError(f"a guest pays with money that is worth nothing, and {network.network} has none such")
    folder = home.network(network.network) / "guest"
    wallet, signer, authorizer = (ensure_key(folder / "keys", name) for name in (WALLET, SIGNER, AUTHORIZER))
    ring = KeyRing()
    ring.add(wallet, signer, authorizer)
    return Economy(
        network=network,
        client=economy.client,
        ledger=open_ledger(folder / "ledger.db"),
        accounts=Accounts(wallet=wallet.address, signer=signer.address, authorizer=authorizer.address),
        ring=ring,
        config=config,
    )


def _draw() -> str:
    return "0x" + secrets.token_hex(32)
