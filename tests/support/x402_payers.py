"""An x402 payer, the chain's state of their channel, and a facilitator that a test scripts."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from openledger_node.access.gateway_prices import GatewayPrices
from openledger_node.chain.x402 import X402State
from openledger_node.ledger.ledger import Ledger
from openledger_node.payments.x402_facilitator import Facilitator
from openledger_node.payments.x402_gateway import X402Gateway, X402Offer
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Address, ChannelId, Salt, Wei
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.x402 import (
    SCHEME,
    X402Channel,
    X402Payment,
    X402Terms,
    header_from_plain,
    requirements_to_plain,
    x402_channel_id,
    x402_payment_from_header,
    x402_voucher_digest,
)

from .signed import NODE, SIGNER, account

KEY = b"\x31" * 32
PAYER = address_of(KEY)
TERMS = X402Terms(
    chain_id=31337,
    asset=account(0x61),
    pay_to=NODE,
    receiver_authorizer=SIGNER,
    withdraw_delay_s=900,
    token_name="OpenLedger",
    token_version="1",
    has_gas_sponsoring=True,
)
PRICES = GatewayPrices(own=Terms(price_in_wei=Wei(1_000), price_out_wei=Wei(4_000)), margin_ppm=100_000)
SUPPORTED = {
    "kinds": [{"x402Version": 2, "scheme": SCHEME, "network": "eip155:31337"}],
    "extensions": ["eip2612GasSponsoring"],
}
CHANNEL = X402Channel(
    payer=PAYER,
    payer_authorizer=PAYER,
    receiver=NODE,
    receiver_authorizer=SIGNER,
    token=TERMS.asset,
    withdraw_delay_s=900,
    salt=Salt("0x" + "5" * 64),
)


@dataclass
class ScriptedContract:
    """The states of channels, as a test sets them."""

    states: dict[ChannelId, X402State] = field(default_factory=dict)
    num_reads: int = 0
    num_closed: int = 0
    error: Exception | None = None

    def close(self) -> None:
        """Count the call."""
        self.num_closed += 1

    def state(self, channel_id: ChannelId) -> X402State:
        """The state; all zero for a channel that nobody has opened."""
        self.num_reads += 1
        if self.error:
            raise self.error
        return self.states.get(channel_id, X402State())


@dataclass
class Payer:
    """A payer with a gateway, its chain and its facilitator."""

    ledger: Ledger
    contract: ScriptedContract = field(default_factory=ScriptedContract)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=lambda: {"/supported": SUPPORTED})
    on_settle: Callable[[], None] = lambda: None
    now_s: int = 1_000

    def __post_init__(self) -> None:
        facilitator = Facilitator("http://f", transport=httpx.MockTransport(self._answer))
        look = lambda: X402Offer(terms=TERMS, contract=self.contract)  # type: ignore[arg-type]  # noqa: E731
        self.gateway = X402Gateway(look, facilitator, self.ledger, lambda: PRICES, lambda: self.now_s)

    @property
    def id(self) -> ChannelId:
        """The id of the channel that the payer uses."""
        return x402_channel_id(TERMS.domain, CHANNEL)

    def fund(self, balance_wei: int, **more: Any) -> None:
        """Set the state of the channel."""
        self.contract.states[self.id] = X402State(balance_wei=Wei(balance_wei), **more)

    def header(
        self,
        ceiling_wei: int,
        *,
        channel: X402Channel = CHANNEL,
        key: bytes = KEY,
        kind: str = "voucher",
        terms: X402Terms = TERMS,
        **changed: Any,
    ) -> str:
        """The header of a signed payment; `changed` are fields of the voucher."""
        found = x402_channel_id(terms.domain, channel)
        signature = sign_digest(key, x402_voucher_digest(terms.domain, found, Wei(ceiling_wei)))
        voucher = {"channelId": found, "maxClaimableAmount": str(ceiling_wei), "signature": "0x" + signature.hex()}
        payload: dict[str, Any] = {"type": kind, "channelConfig": channel.to_plain(), "voucher": voucher | changed}
        if kind == "deposit":
            payload["deposit"] = {"amount": "5000", "authorization": {"permit2Authorization": {}}}
        accepted = requirements_to_plain(terms, Wei(ceiling_wei))
        return header_from_plain({"x402Version": 2, "accepted": accepted, "payload": payload})

    def pay(self, ceiling_wei: int, **options: Any) -> X402Payment:
        """The payment of such a header."""
        return x402_payment_from_header(self.header(ceiling_wei, **options))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content) if request.content else None))
        answer = self.answers.get(request.url.path)
        if isinstance(answer, Exception):
            raise answer
        if request.url.path == "/settle":
            self.on_settle()
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


def other_channel(**fields: Any) -> X402Channel:
    """The payer's channel with other fields."""
    return replace(CHANNEL, **fields)


def other_terms(**fields: Any) -> X402Terms:
    """The terms with other fields, such as those of another chain."""
    return replace(TERMS, **fields)


STRANGER: Address = account(0x77)
