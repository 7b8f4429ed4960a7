"""A test buyer: buys answers of an adapter as any user does, and has the shares of every receipt recomputed."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import trio

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import AdapterRefusedError, MalformedError, ProtocolError, UnavailableError
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams
from openledger_protocol.payments import Terms, price_wei
from openledger_protocol.primitives import AdapterId, Address, Digest, RequestId, Wei, check_address, check_digest

from ..attribution.registry import AdapterRegistry, Registered
from ..engine.tokenizer import Tokenizer
from ..errors import NodeError
from ..home import Home
from ..ledger.audits import Audits
from ..market.board import AdTable
from ..market.request import AnswerPart, NetworkRequest
from ..market.requester import Requester
from ..models.adapters import Adapter, find_adapter
from ..models.library import list_adapters
from .audit_prompts import SYSTEMS, TEMPERATURES, prompt_of_row

PLAN: Final = "plan_share_tests"
SHARE_TESTS: Final = (PLAN, "test_shares")
"""The questions of `attribution audit`."""

REQUESTS_MAX: Final = 1_000
TOKENS_MAX: Final = 1_024
"""Of an answer. With its prompt it must fit into a case."""

NO_ADAPTER: Final = "no adapter is on this machine: `openledger-node adapters pull ADAPTER` gets one with its rows"
WITHIN_S: Final = 300.0
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """An adapter whose shares can be recomputed here, and a node that sells it."""

    adapter: Adapter
    registered: Registered
    node: Address
    terms: Terms


class ShareTests:
    """Plans and makes test purchases."""

    def __init__(
        self,
        home: Home,
        *,
        base: Digest,
        wallet: Address,
        deposit_wei: Wei,
        ads: AdTable,
        requester: Requester,
        registry: AdapterRegistry,
        tokenizer: Tokenizer,
        audits: Audits,
        random: Random,
    ) -> None:
        self._home = home
        self._base = base
        self._wallet = wallet
        self._deposit_wei = deposit_wei
        self._ads = ads
        self._requester = requester
        self._registry = registry
        self._tokenizer = tokenizer
        self._audits = audits
        self._random = random  # no seller may foresee it

    async def answer(self, question: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one of `SHARE_TESTS`."""
        return await (self.plan(arguments) if question == PLAN else self.buy(arguments))

    async def plan(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Draw requests from the rows of adapters here, for nodes that sell them; nothing is sent.

        Raises:
            UnavailableError: no node sells an adapter whose shares can be recomputed here.
            UnknownModelError: the named adapter is not here.
            MalformedError: an argument is out of bounds.
        """
        num_requests = _bounded("requests", arguments.get("requests", 8), REQUESTS_MAX)
        tokens_max = _bounded("max_tokens", arguments.get("max_tokens", 128), TOKENS_MAX)
        node, name = arguments.get("node"), arguments.get("adapter")
        offers = await self._offers(check_address(node) if node else None, name)
        self._random.shuffle(offers)
        chosen = [offers[place % len(offers)] for place in range(num_requests)]
        requests = await trio.to_thread.run_sync(lambda: [self._draw(offer, tokens_max) for offer in chosen])
        return {
            "requests": requests,
            "about_wei": str(sum(int(request["about_wei"]) for request in requests)),
            "num_nodes": len({offer.node for offer in chosen}),
            "deposit_wei": str(self._deposit_wei),
        }

    async def buy(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Make one planned request, and return a result for each receipt, once its shares are recomputed.

        Raises:
            ProtocolError: nobody could answer it for what is left.
            MalformedError: it is not a request of a plan.
        """
        try:
            requested = self._requested(arguments["request"], Wei(int(arguments["left_wei"])))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedError(f"this is not a request of a plan: {error!r}") from error

        async def show(_: str) -> None:
            await trio.lowlevel.checkpoint()

        answered = await self._requester.answer(requested, show)
        return {"receipts": [await self._result(part) for part in answered.parts]}

    # ---- planning

    async def _offers(self, node: Address | None, name: str | None) -> list[_Offer]:
        known, reasons = await trio.to_thread.run_sync(self._recomputable, name)
        found = []
        for adapter, registered in known:
            ads = [ad for ad in self._ads.offers(self._base, adapter.id) if ad.serves and self._is_meant(ad, node)]
            wallets = {ad.wallet: ad for ad in ads}
            found += [
                _Offer(adapter=adapter, registered=registered, node=wallet, terms=ad.terms)
                for wallet, ad in wallets.items()
            ]
            if not wallets:
                reasons.append(f"{adapter.full_name}: {node or 'no other node'} offers it just now")
        if not found:
            raise UnavailableError(f"there is nothing to test: {'; '.join(reasons) or NO_ADAPTER}")
        return found

    def _is_meant(self, ad: Advertisement, node: Address | None) -> bool:
        return ad.wallet == node if node else ad.wallet != self._wallet

    def _recomputable(self, name: str | None) -> tuple[list[tuple[Adapter, Registered]], list[str]]:
        """The adapters here whose shares can be recomputed, and the reasons against the others."""
        adapters = list_adapters(self._home)
        found, reasons = [], []
        for adapter in [find_adapter(adapters, name)] if name else adapters:
            try:
                if adapter.manifest.base.digest != self._base:
                    raise NodeError("it is for another base")
                registered = self._registry.find(adapter)
                if not registered.owned:
                    raise NodeError("it names no rows, so nobody's share could be wrong")
                found.append((adapter, registered))
            except AdapterRefusedError as error:
                again = (
                    f"`openledger-node adapters pull {adapter.full_name}` asks peers for rows that are missing here"
                )
                reasons.append(f"{adapter.full_name}: {error}. {again}")
            except (NodeError, ProtocolError) as error:
                reasons.append(f"{adapter.full_name}: {error}")
        return found, reasons

    def _draw(self, offer: _Offer, tokens_max: int) -> dict[str, Any]:
        """One request: a prompt from a row, with the sampling of a user."""
        index = self._random.choice(offer.registered.owned).index
        decoder = self._tokenizer.decoder()
        row = index.row_tokens(self._random.randrange(index.num_rows))
        prompt = prompt_of_row("".join(decoder.push(token) for token in row), self._random)
        messages = [Message(role="user", content=prompt)]
        if self._random.random() < 1 / len(SYSTEMS):
            messages.insert(0, Message(role="system", content=self._random.choice(SYSTEMS)))
        num_tokens = len(self._tokenizer.render(tuple(messages)))
        return {
            "adapter": offer.adapter.full_name,
            "adapter_id": offer.adapter.id,
            "node": offer.node,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": tokens_max,
            "temperature": self._random.choice(TEMPERATURES),
            "about_wei": str(price_wei(num_tokens, tokens_max, offer.terms)),
        }

    # ---- buying

    def _requested(self, request: dict[str, Any], cost_max_wei: Wei) -> NetworkRequest:
        messages = tuple(Message(role=turn["role"], content=str(turn["content"])) for turn in request["messages"])
        return NetworkRequest(
            request=InferenceRequest(
                request_id=RequestId(f"0x{self._random.getrandbits(256):064x}"),
                model=str(request["adapter"]),
                prompt=messages,
                sampling=SamplingParams(
                    max_tokens=int(request["max_tokens"]),
                    seed=self._random.getrandbits(64),
                    temperature=float(request["temperature"]),
                ),
            ),
            base=self._base,
            adapter=AdapterId(check_digest(request["adapter_id"])),
            only=check_address(request["node"]),
            is_audited=True,
            cost_max_wei=cost_max_wei,
        )

    async def _result(self, part: AnswerPart) -> dict[str, Any]:
        """The verdict on one node's part of an answer, which its payer's audit gives."""
        if part.bought is None:
            return {"node": part.node, "receipt": None, "amount_wei": "0", "verdict": "unknown", "detail": part.why}
        digest = part.bought.digest
        with trio.move_on_after(WITHIN_S):
            while True:
                audit = await trio.to_thread.run_sync(self._audits.find, digest)
                if audit is None or audit.verdict:
                    break
                await trio.sleep(POLL_S)
        verdict, detail = (
            (audit.verdict, audit.detail) if audit and audit.verdict else ("unknown", "not recomputed yet")
        )
        return {
            "node": part.node,
            "receipt": digest,
            "amount_wei": str(part.bought.receipt.amount_wei),
            "verdict": verdict,
            "detail": detail,
        }


def _bounded(name: str, value: Any, most: int) -> int:
    if not isinstance(value, int) or not 1 <= value <= most:
        raise MalformedError(f"{name} must be a whole number from 1 to {most:,}")
    return value
