"""Requests that pay for themselves at the public listener: the headers, the kept answer, and the other callers."""

import base64
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from support.x402_payers import Payer, other_channel

from openledger_node.access.keys import ApiKeyRing
from openledger_node.api.callers import NamedCallers, account_of
from openledger_node.api.free_requests import FREE_MAX, FreeRequests
from openledger_node.api.paid_requests import CELLS, PaidRequests
from openledger_node.api.public import PublicGuard
from openledger_node.api.server import BODY_SEND
from openledger_node.contained import contained
from openledger_node.errors import LedgerError
from openledger_node.home import Home
from openledger_node.ledger.key_credits import RequestWork
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import RequestId, Wei

MOST, CHARGED = 90, 30
BODY = {"model": "m", "prompt": "hello"}
PATH = "/v1/completions"


class Application:
    """Answers as the routes do: it holds, sends, and settles when the answer has ended."""

    def __init__(self, payer: Payer, nursery: trio.Nursery) -> None:
        self.payer = payer
        self.nursery = nursery
        self.status = 200
        self.num_asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        account = account_of(scope)
        assert account is not None, "nobody gets in without one"
        if scope["method"] == "GET":
            await self._send(scope, send, 200, b"models")
            return
        self.num_asked += 1
        request_id = RequestId(f"0x{self.num_asked:064x}")
        try:
            await account.hold(request_id, most_wei=Wei(0), most_tokens=30, least_tokens=11)
        except PaymentRequiredError as error:
            await self._send(scope, send, 402, error.message.encode())
            return
        await self._send(scope, send, self.status, b"answer")
        self.nursery.start_soon(contained, self._settle, account, request_id)

    async def _settle(self, account: Any, request_id: RequestId) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await account.settle(request_id, spent_wei=Wei(0), tokens=0)

    async def _send(self, scope: Any, send: Any, status: int, content: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"x-own", b"1")]})
        await scope.get(BODY_SEND, send)({"type": "http.response.body", "body": content[:3], "more_body": True})
        await scope.get(BODY_SEND, send)({"type": "http.response.body", "body": content[3:], "more_body": False})


class Site:
    """A listener with a payer and an application behind it."""

    def __init__(self, payer: Payer, app: Application, guard: PublicGuard) -> None:
        self.payer, self.app, self._guard = payer, app, guard
        self.address = "192.0.2.1"

    async def post(self, path: str = PATH, *, method: str = "POST", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        transport = httpx.ASGITransport(app=self._guard, client=(self.address, 1))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.request(method, path, json=BODY, headers=named)

    async def pay(self, ceiling_wei: int, **options: Any) -> httpx.Response:
        return await self.post(PAYMENT_SIGNATURE=self.payer.header(ceiling_wei, **options))


def read(response: httpx.Response, name: str) -> Any:
    return json.loads(base64.b64decode(response.headers[name]))


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> Any:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        payer = Payer(ledger)
        payer.fund(5_000)
        work = RequestWork(tokens_in=10, tokens_out=5, cost_wei=Wei(0))
        monkeypatch.setattr(ledger.key_credits, "final_work", lambda _: work)
        app = Application(payer, nursery)
        guard = PublicGuard(
            app,
            callers=NamedCallers(ApiKeyRing(Home(tmp_path)), ledger.key_uses),
            origins=frozenset({"https://a.example"}),
            body_bytes_max=1_000,
            now_s=lambda: 0.0,
            paid=PaidRequests(FreeRequests(app, now_s=lambda: 0.0), payer.gateway),
        )
        await payer.gateway.offer()
        yield Site(payer, app, guard)


async def test_terms_then_a_payment_then_an_answer_with_its_charge(site: Site) -> None:
    refused = await site.post()
    assert refused.status_code == 402
    required = read(refused, "PAYMENT-REQUIRED")
    assert required["x402Version"] == 2
    assert required["resource"]["url"] == "http://node/v1/completions"
    assert required["accepts"][0]["amount"] == str(MOST)
    paid = await site.pay(MOST)
    assert (paid.status_code, paid.text, paid.headers["x-own"]) == (200, "answer", "1")
    assert read(paid, "PAYMENT-RESPONSE")["extra"]["chargedAmount"] == str(CHARGED)
    assert site.payer.ledger.x402.income_wei()[0] == CHARGED
    replayed = await site.pay(MOST)
    assert replayed.status_code == 402
    assert read(replayed, "PAYMENT-REQUIRED")["accepts"][0]["extra"]["channelState"]["channelId"] == site.payer.id


async def test_an_error_is_free(site: Site) -> None:
    site.app.status = 503
    answer = await site.pay(MOST)
    assert answer.status_code == 503
    assert "PAYMENT-RESPONSE" not in answer.headers
    assert site.payer.ledger.x402.income_wei()[0] == 0
    site.app.status = 200
    assert (await site.pay(MOST)).status_code == 200


async def test_an_answer_without_a_written_charge_is_not_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise LedgerError("the ledger can't be written")

    monkeypatch.setattr(site.payer.ledger.x402, "charge", fail)
    answer = await site.pay(MOST)
    assert answer.status_code == 503
    assert "answer is not sent" in answer.text


@pytest.mark.parametrize("header", ["!!", "A" * 20_000, "e30="])
async def test_a_header_that_is_no_payment_is_a_bad_request(site: Site, header: str) -> None:
    answer = await site.post(PAYMENT_SIGNATURE=header)
    assert answer.status_code == 400
    assert "PAYMENT-SIGNATURE" in answer.json()["error"]["message"]
    assert site.app.num_asked == 0


async def test_an_address_that_never_pays_does_not_keep_payers_or_other_addresses_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openledger_node.api.paid_requests.CELLS", 10**12)  # so that no two share one
    assert (await site.pay(MOST)).status_code == 200
    codes = [(await site.post()).status_code for _ in range(FREE_MAX + 2)]
    assert codes == [402] * (FREE_MAX + 1) + [429]
    stranger = site.payer.header(MOST, channel=other_channel(salt="0x" + "6" * 64))
    assert (await site.post(PAYMENT_SIGNATURE=stranger)).status_code == 429, "a voucher that nobody has funded"
    assert (await site.pay(MOST, key=b"\x32" * 32)).status_code == 429, "another's channel"
    assert (await site.pay(CHARGED + MOST)).status_code == 200
    site.address = "192.0.2.2"
    assert (await site.post()).status_code == 402


async def test_addresses_without_number_have_a_bounded_number_of_names(site: Site) -> None:
    paid = PaidRequests(site.app, site.payer.gateway)
    names = {await paid._name({"client": (f"2001:db8:{n:x}::1", 1)}, None) for n in range(2 * CELLS)}
    assert CELLS / 2 < len(names) <= CELLS
    assert await paid._name({"client": ("2001:db8::1", 1)}, None) == await paid._name(
        {"client": ("2001:db8::2", 1)}, None
    )


async def test_a_wrong_key_is_refused_even_with_a_payment(site: Site) -> None:
    header = site.payer.header(MOST)
    answer = await site.post(PAYMENT_SIGNATURE=header, Authorization="Bearer olk-wrong")
    assert answer.status_code == 401
    assert (await site.post(PAYMENT_SIGNATURE=header, x_api_key="olk-wrong")).status_code == 401


async def test_only_answers_can_be_paid_and_models_are_open(site: Site) -> None:
    assert (await site.post("/v1/models", method="GET")).text == "models"
    assert (await site.post("/v1/models/m", method="GET")).status_code == 200
    for method, path in (("POST", "/v1/files"), ("GET", PATH), ("POST", "/v1/modelsx"), ("GET", "/v1/modelsx")):
        assert (await site.post(path, method=method)).status_code == 401, path


async def test_pages_of_listed_origins_can_read_the_headers(site: Site) -> None:
    answer = await site.post(Origin="https://a.example")
    assert answer.status_code == 402
    assert "PAYMENT-REQUIRED" in answer.headers["access-control-expose-headers"]
    assert (await site.post(Origin="https://b.example")).status_code == 403


async def test_without_terms_the_listener_asks_for_a_key_as_before(site: Site) -> None:
    site.payer.gateway._offer = None
    answer = await site.pay(MOST)
    assert answer.status_code == 401
    assert "PAYMENT-REQUIRED" not in answer.headers
