"""Requests that pay for themselves by x402, at the listeners beyond loopback.

The answer is kept until its charge is in the ledger, because the charge is part of its head. So a streamed answer
comes at its end, with all its events.
"""

import secrets
from collections.abc import Mapping
from typing import Final

import trio

from openledger_protocol.errors import MalformedError
from openledger_protocol.x402 import X402Payment, header_from_plain, x402_payment_from_header

from ..access.budget import PayingAccount
from ..errors import LedgerError
from ..payments.x402_account import NAME, X402Account
from ..payments.x402_gateway import X402Gateway
from .callers import ACCOUNT
from .client_addresses import network_of
from .errors import refusal
from .exchange import CLIENT_CLOSED
from .guard import KEY_HEADER, App, Incoming, Message, Outgoing, Scope
from .server import BODY_SEND

PAID: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
"""Routes that a payment can pay for."""

MODELS: Final = "/v1/models"
REQUIRED, SIGNATURE, RESPONSE = "payment-required", "payment-signature", "payment-response"
CELLS: Final = 512
"""Names of payers at most, since anybody can ask from many addresses. Payers in one cell share an allowance."""

NOT_WRITTEN: Final = "the charge can't be written to this node's ledger, so the answer is not sent and costs nothing"


class PaidRequests:
    """Lets requests without a key pay for themselves, while the gateway has terms."""

    def __init__(self, app: App, gateway: X402Gateway) -> None:
        self._app = app
        self._gateway = gateway
        self._salt = secrets.token_bytes(16)  # nobody can aim at another's cell

    def is_open_to(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        """Return True if a request has no key and is for a route that a payment can pay for, or for the models."""
        if self._gateway.terms is None or "authorization" in headers or KEY_HEADER in headers:
            return False
        method, path = scope["method"], scope["path"]
        is_models = path == MODELS or path.startswith(f"{MODELS}/")
        return (method == "POST" and path in PAID) or (method == "GET" and is_models)

    async def __call__(self, scope: Scope, receive: Incoming, send: Outgoing, headers: Mapping[str, str]) -> None:
        """Serve one request."""
        text = headers.get(SIGNATURE)
        try:
            payment = x402_payment_from_header(text) if text is not None else None
        except MalformedError as error:
            await refusal(400, error.message, path=scope["path"])(scope, receive, send)
            return
        url = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}{scope['path']}"
        name = await self._name(scope, payment)
        account = X402Account(self._gateway, payment, url=url, name=name)
        kept = KeptAnswer()
        paying: PayingAccount = account
        inner = {**scope, ACCOUNT: paying, BODY_SEND: kept.send}
        extra: dict[str, str] = {}
        try:
            await self._app(inner, receive, kept.send)
        finally:
            with trio.CancelScope(shield=True):
                try:
                    paid = await account.conclude(is_error=kept.is_error)
                except LedgerError:
                    kept = KeptAnswer()
                    paid = None
                    await refusal(503, NOT_WRITTEN, path=scope["path"])(scope, receive, kept.send)
        if paid:
            extra[RESPONSE] = header_from_plain(paid)
        if account.required and kept.status == 402:
            extra[REQUIRED] = header_from_plain(account.required)
        await kept.pass_on(send, extra)

    async def _name(self, scope: Scope, payment: X402Payment | None) -> str:
        """A name of the payer, whose free requests are bounded by it: the channel if it has paid, else the address.

        So nobody who has paid nothing can use up the allowance of those who have.
        """
        if payment and await self._gateway.is_known(payment):
            payer = f"channel {payment.voucher.channel_id}"
        else:
            payer = f"address {network_of((scope.get('client') or ('',))[0])}"
        return f"{NAME} {hash((self._salt, payer)) % CELLS}"


class KeptAnswer:
    """A response that is kept until its end."""

    def __init__(self) -> None:
        self._start: Message | None = None
        self._bodies: list[Message] = []

    @property
    def status(self) -> int:
        """The status, or 500 if the response never began."""
        return self._start["status"] if self._start else 500

    @property
    def is_error(self) -> bool:
        """True for a refusal or a failure. A client that left before the end is none: its answer was computed."""
        return self.status >= 400 and self.status != CLIENT_CLOSED

    async def send(self, message: Message) -> None:
        """Keep one part."""
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._bodies.append(message)
        await trio.lowlevel.checkpoint()

    async def pass_on(self, send: Outgoing, extra: Mapping[str, str]) -> None:
        """Send all parts, with more headers."""
        if self._start is None:
            return
        added = [(name.encode(), value.encode()) for name, value in extra.items()]
        await send({**self._start, "headers": [*self._start.get("headers", ()), *added]})
        for message in self._bodies:
            await send(message)
