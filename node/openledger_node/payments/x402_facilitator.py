"""A client of an x402 facilitator, which sends payers' deposits to the chain and pays their gas.

Nothing that it says about money is believed: after a deposit the channel is read from this node's own chain endpoint.
"""

import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx
import trio

from openledger_protocol.errors import UnavailableError
from openledger_protocol.x402 import SCHEME, VERSION

from ..errors import ConfigError
from ..text import shown

KEY_VARIABLE: Final = "X402_FACILITATOR_KEY"
TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
ANSWER_S: Final = 120.0
"""A whole answer takes no longer. Otherwise one that comes byte by byte would hold its deposit's place for ever."""

ANSWER_BYTES_MAX: Final = 1 << 20
REASON_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposited:
    """A facilitator's answer to a deposit."""

    transaction: str  # its hash, or empty
    why_not: str = ""  # the facilitator's reason if it did not deposit


class Facilitator:
    """One facilitator, by its HTTP API."""

    def __init__(
        self, url: str, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._transport = transport

    async def extensions_for(self, network: str) -> list[str]:
        """The names of the extensions that it supports, if it supports this scheme on a chain.

        Raises:
            UnavailableError: it does not answer, or does not support the scheme there.
        """
        found = await self._ask("GET", "/supported")
        kinds = found.get("kinds")
        is_there = isinstance(kinds, list) and any(
            isinstance(kind, dict)
            and kind.get("x402Version") == VERSION
            and kind.get("scheme") == SCHEME
            and kind.get("network") == network
            for kind in kinds
        )
        if not is_there:
            raise UnavailableError(
                f"the x402 facilitator does not support {SCHEME} on {network}: set [gateway] x402_facilitator to one "
                "that does"
            )
        extensions = found.get("extensions")
        return [str(each) for each in extensions] if isinstance(extensions, list) else []

    async def deposit(self, payload: Mapping[str, Any], requirements: Mapping[str, Any]) -> Deposited:
        """Let it check a payer's deposit and send it to the chain.

        Raises:
            UnavailableError: it does not answer, or not in the specification's form.
        """
        body = {"x402Version": VERSION, "paymentPayload": payload, "paymentRequirements": requirements}
        checked = await self._ask("POST", "/verify", body)
        if checked.get("isValid") is not True:
            return Deposited(transaction="", why_not=_reason(checked.get("invalidReason")))
        settled = await self._ask("POST", "/settle", body)
        if settled.get("success") is not True:
            return Deposited(transaction="", why_not=_reason(settled.get("errorReason")))
        return Deposited(transaction=shown(str(settled.get("transaction") or ""))[:REASON_LENGTH_MAX])

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with trio.move_on_after(ANSWER_S):
            return await self._answer(method, path, body)
        raise UnavailableError(
            f"the x402 facilitator has not answered {path} in {ANSWER_S:.0f} s: check [gateway] x402_facilitator"
        )

    async def _answer(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        content = bytearray()
        try:
            async with (
                httpx.AsyncClient(
                    transport=self._transport, timeout=TIMEOUT, headers=self._headers, trust_env=False
                ) as client,
                client.stream(method, f"{self._url}{path}", json=body) as response,
                aclosing(cast(AsyncGenerator[bytes], response.aiter_bytes())) as chunks,
            ):
                async for chunk in chunks:
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        break
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the x402 facilitator does not answer ({type(error).__name__}): check [gateway] x402_facilitator"
            ) from error
        if len(content) > ANSWER_BYTES_MAX:
            raise UnavailableError(f"the x402 facilitator answers {path} with over {ANSWER_BYTES_MAX} bytes")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UnavailableError(
                f"the x402 facilitator answers {path} with status {response.status_code} and no JSON object: check "
                "[gateway] x402_facilitator"
            )
        return found


def open_facilitator(url: str) -> Facilitator:
    """The facilitator of the settings; its key, if it wants one, is in the environment.

    Raises:
        ConfigError: no request can have this URL or this key.
    """
    key = os.environ.get(KEY_VARIABLE)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(
            f"gateway.x402_facilitator is {url!r} ({error}): write it like https://host/path"
        ) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"gateway.x402_facilitator is {url!r}: write it like https://host/path")
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY_VARIABLE} has a character that no header takes: copy the facilitator's key again")
    return Facilitator(url, key=key)


def _reason(told: object) -> str:
    return shown(str(told or "no reason given"))[:REASON_LENGTH_MAX]
