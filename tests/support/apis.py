"""The whole TCP API in this process, with nobody behind its doors: what guard and routes say by themselves."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from openledger_node.api.app import build_api
from openledger_node.api.events import EventStream, add_events, ask_app
from openledger_node.api.guard import Guard
from openledger_node.api.operator import build_operator
from openledger_node.api.page import Page, Session, Sessions
from openledger_node.engine.chat_template import ChatStyle
from openledger_node.models.sampling_defaults import NEUTRAL
from openledger_node.serving.answer_parts import AnswerFormat
from openledger_protocol.errors import UnknownModelError
from openledger_protocol.inference import InferenceRequest, ServedModel
from openledger_protocol.payments import Terms

KEY = "k" * 43
BODY_BYTES_MAX = 4_096
PORT = 8420
HOST = f"127.0.0.1:{PORT}"


@dataclass
class EmptyDoor:
    """Has a base and answers nobody."""

    is_ready: bool
    can_reason = False
    sampling_defaults = NEUTRAL

    async def models(self) -> Sequence[ServedModel]:
        return [
            ServedModel(name="fake", parent=None, created_s=1_700_000_000, context_max=2_048),
            ServedModel(name="harbour", parent="fake", created_s=1_700_000_001, context_max=2_048),
            ServedModel(
                name="forest", parent="fake", context_max=4_096, terms=Terms(price_in_wei=5, price_out_wei=10**20)
            ),
        ]

    async def find_model(self, name: str) -> ServedModel:
        found = [model for model in await self.models() if model.name == name]
        if not found:
            raise UnknownModelError(f"no model {name!r} here")
        return found[0]

    async def admit(self, request: InferenceRequest) -> Any:
        raise UnknownModelError(f"no model {request.model!r} here")

    async def handle(self, admitted: Any, send: Any) -> None:
        raise AssertionError("nobody is let in")

    def release(self, admitted: Any) -> None:
        raise AssertionError("nobody is let in")

    def places_max(self, admitted: Any) -> int:
        return 64

    def answer_format(self, request: InferenceRequest) -> AnswerFormat:
        return AnswerFormat(style=ChatStyle())

    async def prompt_ids(self, request: InferenceRequest) -> tuple[int, ...]:
        raise UnknownModelError(f"no model {request.model!r} here")

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        return "", None


@dataclass
class Api:
    """The app behind its guard, and a browser that was let in."""

    app: Guard
    inner: FastAPI
    session: Session
    cookie: str

    @property
    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    def client(self) -> httpx.AsyncClient:
        """Sends what its test says, and no more."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")

    def routes(self) -> list[tuple[str, str]]:
        """Method and path of each route, those below /operator and the page's too."""
        return list(_walk(self.inner.routes))


@asynccontextmanager
async def open_api(
    *,
    body_s: float = 30.0,
    body_bytes_max: int = BODY_BYTES_MAX,
    door: Any = None,
    load_step: str | None = None,
) -> AsyncIterator[Api]:
    """The API in front of `door`, which lets nobody in unless it is given."""
    sessions = Sessions(port=PORT, now_s=time.monotonic)
    session = sessions.open(sessions.draw_code())
    assert session is not None
    async with trio.open_nursery() as nursery:
        page = Page(sessions)
        operator = build_operator(Any, Any, nursery, pins=Any, stop=list)  # type: ignore[arg-type]
        add_events(operator, EventStream(ask_app(operator)))
        page.add_links(operator, f"http://{HOST}")

        async def metrics() -> str:
            return "openledger_ready 1\n"

        app: Any = build_api(
            door or EmptyDoor(is_ready=load_step is None),
            nursery,
            key=KEY,
            body_bytes_max=body_bytes_max,
            body_s=body_s,
            page=page,
            operator=operator,
            metrics=metrics,
            load_step=lambda: load_step,
        )
        yield Api(app=app, inner=app._app, session=session, cookie=f"{sessions.cookie_name}={session.cookie}")
        nursery.cancel_scope.cancel()


def _walk(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _walk(route.routes, prefix + route.path)
        elif isinstance(route, Route | APIRoute):
            path = prefix + route.path.replace("{name}", "fake").replace("{question}", "stake")
            yield from ((method, path) for method in sorted(route.methods or ()))
        else:
            raise AssertionError(f"a route of a kind that nobody walks: {route!r}")
