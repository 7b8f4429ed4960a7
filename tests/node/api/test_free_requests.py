"""Requests that no budget counts: bounded for each named key, and never in the way of its answers."""

from dataclasses import dataclass

import pytest

from openledger_node.api.callers import ACCOUNT
from openledger_node.api.free_requests import FREE_MAX, REFILL_PER_S, UNIT_BYTES, FreeRequests
from openledger_node.api.guard import Incoming, Message, Outgoing, Scope

FREE, BUDGETED = "/v1/messages/count_tokens", "/v1/chat/completions"


@dataclass
class Account:
    """An account with nothing but its name."""

    name: str


@dataclass
class Answer:
    """The answer of the middleware, or of the app behind it."""

    status_code: int
    headers: dict[str, str]
    text: str


class Door:
    """The middleware with its clock, in front of an app that reads the body and answers with the wished status."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._bound = FreeRequests(_answer, now_s=lambda: self.now_s)

    async def post(self, path: str, *, key: str | None = "anna", status: int = 200, size: int = 0) -> Answer:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"x" * size, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "status": status, **({ACCOUNT: Account(key)} if key else {})}
        await self._bound(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0].get("headers", ())}
        return Answer(sent[0]["status"], headers, sent[1]["body"].decode())


async def _answer(scope: Scope, receive: Incoming, send: Outgoing) -> None:
    await receive()
    await send({"type": "http.response.start", "status": scope["status"], "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_free_requests_end_at_the_bound_and_come_back_with_time() -> None:
    door = Door()
    assert {(await door.post(FREE)).status_code for _ in range(FREE_MAX)} == {200}
    refused = await door.post(FREE)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert (await door.post(FREE, key="bob")).status_code == 200, "each key has its own"
    assert (await door.post(FREE, key=None)).status_code == 200, "the owner has no bound"
    assert (await door.post(BUDGETED)).status_code == 200, "lists of models don't keep a key from its answers"
    door.now_s += 1 / REFILL_PER_S
    assert [(await door.post(FREE)).status_code for _ in range(2)] == [200, 429]


async def test_answers_that_hold_budget_are_not_counted() -> None:
    door = Door()
    assert {(await door.post(BUDGETED)).status_code for _ in range(2 * FREE_MAX)} == {200}


async def test_refused_requests_are_counted_on_every_route() -> None:
    door = Door()
    codes = [(await door.post(BUDGETED, status=402)).status_code for _ in range(FREE_MAX + 2)]
    assert codes == [402] * (FREE_MAX + 1) + [429], "the one that overdraws is still passed on"
    assert "no budget counts" in (await door.post(BUDGETED)).text
    door.now_s += 1 / REFILL_PER_S
    assert (await door.post(BUDGETED)).status_code == 200


async def test_a_large_body_counts_as_many_requests() -> None:
    door = Door()
    while (await door.post(FREE, size=30 * UNIT_BYTES)).status_code == 200:
        door.now_s += 1 / REFILL_PER_S
    door.now_s += 15
    assert (await door.post(FREE)).status_code == 200


async def test_keys_whose_allowance_is_whole_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openledger_node.api.free_requests.KEYS_MAX", 3)
    door = Door()
    for number in range(4):
        await door.post(FREE, key=f"k{number}")
    door.now_s += 60
    for _ in range(2):
        await door.post(FREE, key="last")
    assert sorted(door._bound._allowances) == ["last"]
