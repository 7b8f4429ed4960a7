"""The service behind the operator's routes: status, jobs, prices, limits, pauses, adapters and models."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from openledger_protocol.errors import MalformedError

from ..api_key import api_key_file
from ..config import LimitsConfig
from ..errors import NodeError
from ..first_words import FIRST_QUESTION, SAMPLE_QUESTIONS
from ..models.library import AdapterLibrary
from ..text import DURATION_S_MAX, since_of
from .adapters import adapters_to_plain, found_withdrawn, models_to_plain, published_bonds
from .alerts.service import AlertService, look_at
from .alerts.trial import send_trials
from .datanet_names import datanet_names
from .event_watch import EventWatch, troubles_of
from .jobs import job_filter, list_jobs
from .limits import Limits
from .pause import Grace, Pauses
from .prices import Prices
from .status import NodeParts, StatusReport
from .usage import read_adapter_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorService:
    """The operator's view of a running node; its answers are plain values for JSON."""

    parts: NodeParts
    status: StatusReport
    prices: Prices
    limits: Limits
    pauses: Pauses
    alerts: AlertService
    library: AdapterLibrary  # it parses a folder only when the folder has changed
    events: EventWatch

    async def run(self) -> None:
        """Watch for pauses, events and alerts until cancelled."""
        parts = self.parts
        find = partial(troubles_of, parts.home, network=parts.network, engine=parts.engine, serving=parts.serving)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pauses.run)
            nursery.start_soon(self.events.run, find)
            nursery.start_soon(self.alerts.run)

    async def jobs(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """The newest requests.

        Raises:
            MalformedError: a filter is not understood.
        """
        chosen = job_filter(**{"limit": 50, **filters}, now_s=time.time())
        return await trio.to_thread.run_sync(list_jobs, self.parts.ledger, chosen)

    async def pause(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Pause the node.

        Raises:
            MalformedError: the order has an unknown field, or its time can't be read.
        """
        if unknown := order.keys() - {"until", "for_s", "now", "drain"}:
            raise MalformedError(f"a pause has no field {min(unknown)!r}: it has until, for_s, now and drain")
        if order.get("now") and order.get("drain"):
            raise MalformedError("a pause with now cuts running answers off, and with drain it does not: choose one")
        until_s = since_of(order["until"], now_s=0) if order.get("until") else None
        if order.get("for_s") is not None:
            until_s = time.time() + _duration_s(order["for_s"])
        grace: Grace = "none" if order.get("now") else "drain" if order.get("drain") else "brief"
        pause = self.pauses.pause(until_s=until_s, grace=grace)
        return {"state": self.status.state(), "paused": pause.to_plain()}

    async def resume(self) -> dict[str, Any]:
        """Resume the node."""
        try:
            self.pauses.resume()
            not_kept = None
        except NodeError as error:
            not_kept = str(error)
        pause = self.pauses.current
        return {
            "state": self.status.state(),
            "paused": pause.to_plain() if pause else None,
            "not_kept": not_kept,
        }

    async def test_alerts(self) -> dict[str, Any]:
        """Send a test alert to each receiver, by the settings that this node runs with.

        Raises:
            ConfigError: there is no receiver.
        """
        return {"receivers": await send_trials(self.parts.home, self.parts.config.alerts)}

    async def connect(self) -> dict[str, Any]:
        """The address, the key file and the model names that another program needs."""
        names = [model.name for model in await self.parts.router.models()]
        return connection(self.parts.url, api_key_file(self.parts.home), names)

    async def adapters(self) -> dict[str, Any]:
        """Every adapter in the library, where it is now, and what it did in the last day."""
        parts, cap = self.parts, self.limits.limits.disk_bytes
        usage = await trio.to_thread.run_sync(partial(read_adapter_usage, parts.ledger, now_ns=time.time_ns()))
        listing = await trio.to_thread.run_sync(self.library.read)
        bonds = await trio.to_thread.run_sync(published_bonds, parts.ledger.events, listing.adapters)
        withdrawn = await trio.to_thread.run_sync(found_withdrawn, parts.home, parts.ledger.events, listing.adapters)
        names = await trio.to_thread.run_sync(datanet_names, parts.home, parts.ledger.events, listing.adapters)
        memory = parts.pins.warmth()
        view = parts.network.view()
        show = partial(
            adapters_to_plain,
            parts.home,
            memory,
            usage,
            listing=listing,
            bonds=bonds,
            withdrawn=withdrawn,
            disk_cap_bytes=cap,
            not_sold=view.not_sold if view else None,
            names=names,
        )
        return await trio.to_thread.run_sync(show)

    async def models(self) -> dict[str, Any]:
        """The base models on this machine."""
        return await trio.to_thread.run_sync(models_to_plain, self.parts.home, self.parts.config.inference.base)


def open_operator(parts: NodeParts, refit: Callable[[LimitsConfig], None], events: EventWatch) -> OperatorService:
    """Compose the service; `refit` gives the engine other budgets, and the caller runs it."""
    config = parts.config
    limits = Limits(
        parts.home,
        config.limits,
        config.payer,
        engine=parts.engine,
        network=parts.network,
        serves=config.node.serve,
        refit=refit,
    )
    pauses = Pauses(
        parts.home,
        parts.serving,
        parts.engine,
        limits=limits,
        drain_s=config.node.drain_grace_s,
    )
    return OperatorService(
        parts=parts,
        status=StatusReport(parts, pauses, limits),
        prices=Prices(parts.home, config.market, parts.network),
        limits=limits,
        pauses=pauses,
        alerts=AlertService(parts.home, config.alerts, partial(look_at, parts)),
        library=AdapterLibrary(parts.home),
        events=events,
    )


def _duration_s(value: Any) -> float:
    """Read the duration of a pause.

    Raises:
        MalformedError: it is not between a second and ten years.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= DURATION_S_MAX:
        raise MalformedError(f"for_s must be a number of seconds, above 0 and at most {DURATION_S_MAX}")
    return float(value)


def connection(url: str, key_file: Path, models: Sequence[str]) -> dict[str, Any]:
    """The data that a client needs, without the key itself."""
    base_url, model = f"{url}/v1", models[0] if models else "MODEL"
    question = f'[{{"role": "user", "content": "{FIRST_QUESTION}"}}]'
    key = f'"$(cat {shlex.quote(str(key_file))})"'
    port = url.rpartition(":")[2]
    return {
        "base_url": base_url,
        "key_file": str(key_file),
        "models": list(models),
        "questions": list(SAMPLE_QUESTIONS),
        "examples": {
            "curl": (
                f'curl {base_url}/chat/completions -H "Authorization: Bearer $(cat {shlex.quote(str(key_file))})" '
                f"-H 'Content-Type: application/json' "
                f'-d \'{{"model": "{model}", "messages": {question}, "temperature": 0}}\''
            ),
            "openai": (
                "from openai import OpenAI\n"
                f"client = OpenAI(base_url={base_url!r}, api_key=open({str(key_file)!r}).read().strip())\n"
                f"print(client.chat.completions.create(model={model!r}, "
                f"messages={question}, temperature=0).choices[0].message.content)"
            ),
            "environment": f"export OPENAI_BASE_URL={base_url} OPENAI_API_KEY={key}",
            "open_webui": (
                f"docker run -d --network host -e PORT=3000 -e OPENAI_API_BASE_URL={base_url} "
                f"-e OPENAI_API_KEY={key} ghcr.io/open-webui/open-webui:main"
            ),
        },
        "note": (
            f"the API listens on loopback only: a container reaches it with --network host, "
            f"another machine with `ssh -L {port}:127.0.0.1:{port} THIS_MACHINE`"
        ),
    }
