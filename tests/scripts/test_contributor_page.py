"""The contributor's page in a real browser: it shows what the chain says, and asks a wallet for the right call."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from audited_economy import Economy, open_economy
from playwright.sync_api import Browser, Page, expect
from support.chain_world.contract_world import OPEN, OWNER_KEYS
from support.pages import CHROMIUM, Seen
from support.signed import account

from openledger_node.audit.contributor import read_contributor
from openledger_node.audit.contributor_page import render_page
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.cli.units import open_amount
from openledger_node.network_file import Network
from openledger_protocol.signatures import address_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the contributor's page, for want of chromium"),
]

KEY = OWNER_KEYS[2]
OWNER = address_of(KEY)
REWARDS = load_contract("AttributionRewards")
Change = Callable[[str, Any], Any]
WALLET = """window.ethereum = { request: ({ method, params }) => window.askWallet(method, params ?? []) };"""


@dataclass
class Site:
    """A web site with the page, and the endpoint that it asks under the same address."""

    url: str
    network: Network
    change: Change | None = None  # of what the endpoint tells


@pytest.fixture(scope="module")
def session() -> Iterator[Economy]:
    """A final claim that credits an owner, who has withdrawn a little."""
    session = open_economy()
    first = session.open(OPEN)
    session.settle(session.record(*session.owed(first, [10_007, 200_003, 30_011, 400_001])))
    session.take_out(KEY, account(0x78), 100)
    yield session
    session.client.close()


@contextmanager
def served_site(session: Economy) -> Iterator[Site]:
    methods = RpcMethods(session.client._chain, "openledger-node/test")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send("text/html; charset=utf-8", render_page(place.network).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with methods.lock:
                result = methods.answer(asked["method"], asked["params"])
            told = place.change(asked["method"], result) if place.change else result
            self._send("application/json", json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}).encode())

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    place = Site(url=url, network=replace(session.network, rpc=(f"{url}/rpc",)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def site(session: Economy) -> Iterator[Site]:
    with served_site(session) as site:
        yield site


@dataclass
class Wallet:
    """A browser's wallet: it answers the page, and notes the transactions that it is asked to send."""

    account: str = OWNER
    chain_id: int = 0
    sent: list[dict[str, str]] = field(default_factory=list)

    def answer(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_requestAccounts":
                return [self.account]
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_sendTransaction":
                self.sent.append(params[0])
                return "0x" + "ab" * 32
            case _:
                raise AssertionError(f"the page asks a wallet for {method}")


@pytest.fixture
def wallet(site: Site) -> Wallet:
    return Wallet(chain_id=site.network.chain_id)


@pytest.fixture
def page(browser: Browser, site: Site, wallet: Wallet) -> Iterator[Page]:
    """The page, which must complain of nothing and ask nobody else."""
    seen = Seen()
    context = browser.new_context()
    page = context.new_page()
    page.expose_function("askWallet", wallet.answer)
    page.add_init_script(WALLET)
    seen.watch(page)
    page.goto(site.url)
    yield page
    context.close()
    site.change = None
    assert seen.complaints == []
    assert seen.hosts <= {"127.0.0.1"}


def look(page: Page, who: str) -> None:
    page.get_by_label("Address").fill(who)
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("button", name="Look")).to_be_enabled()


def withdraw(page: Page) -> None:
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_role("button", name="Withdraw")).to_be_enabled()


def balance_of(session: Economy) -> int:
    return read_contributor([session.client], session.network, OWNER).balance_wei


def test_it_shows_what_an_account_earned_and_has_withdrawn(page: Page, session: Economy) -> None:
    look(page, OWNER)
    balance = balance_of(session)
    assert page.locator("dd").all_inner_texts() == [
        open_amount(balance + 100),
        open_amount(100),
        open_amount(balance),
    ]


def test_the_wallet_is_asked_for_a_withdrawal_that_the_chain_pays(
    page: Page, session: Economy, site: Site, wallet: Wallet
) -> None:
    look(page, OWNER)
    balance = balance_of(session)
    withdraw(page)
    call = REWARDS.encode("withdraw", OWNER, balance)
    rewards = site.network.contracts["AttributionRewards"]
    assert wallet.sent == [{"from": OWNER, "to": rewards, "data": "0x" + call.hex()}]
    expect(page.get_by_role("status")).to_contain_text("Sent as 0xabab")
    RpcMethods(session.client._chain, "test").answer("eth_call", [wallet.sent[0], "latest"])  # it does not revert


def test_nothing_earned_can_not_be_withdrawn(page: Page) -> None:
    look(page, account(0x77))
    assert page.locator("dd").all_inner_texts() == [open_amount(0)] * 3
    expect(page.get_by_role("button", name="Withdraw")).to_be_disabled()


@pytest.mark.parametrize(
    ("change", "why"),
    [({"account": account(0x78)}, "has another account open"), ({"chain_id": 5}, "The wallet is on chain 5")],
)
def test_a_wallet_elsewhere_is_asked_for_nothing(
    page: Page, wallet: Wallet, change: dict[str, Any], why: str
) -> None:
    vars(wallet).update(change)
    look(page, OWNER)
    withdraw(page)
    expect(page.get_by_role("status")).to_contain_text(why)
    assert wallet.sent == []


def without(topic: str) -> Change:
    def change(method: str, result: Any) -> Any:
        return [log for log in result if log["topics"][0] != topic] if method == "eth_getLogs" else result

    return change


def elsewhere(method: str, result: Any) -> Any:
    return {**result, "hash": "0x" + "0" * 64} if method == "eth_getBlockByNumber" else result


def markup(method: str, result: Any) -> Any:
    return "<img src=x onerror=alert(1)>" if method == "eth_call" else result


@pytest.mark.parametrize(
    ("who", "change", "why"),
    [
        ("0x12", None, "That is no address"),
        (OWNER, elsewhere, "on another chain"),
        (OWNER, without(REWARDS.topic_of("Credited")), "left payments out"),
        (OWNER, without(REWARDS.topic_of("Withdrawn")), "left payments out"),
        (OWNER, markup, "something that is no number"),
    ],
)
def test_a_slip_or_a_lie_is_explained(page: Page, site: Site, who: str, change: Change | None, why: str) -> None:
    site.change = change
    look(page, who)
    expect(page.get_by_role("status")).to_contain_text(why)
    expect(page.get_by_role("button", name="Withdraw")).to_be_hidden()
    assert page.locator("img").count() == 0
