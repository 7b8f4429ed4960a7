"""The contributor's page in a real browser: it shows what the chain says, and asks a wallet for the right call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from audited_economy import Economy, open_economy
from playwright.sync_api import Browser, Page, Route, expect
from support.chain_world.contract_world import OPEN, OWNER_KEYS
from support.pages import CHROMIUM, Seen
from support.signed import account

from openledger_node.audit.contributor import read_contributor
from openledger_node.audit.contributor_page import render_page
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.cli.units import open_amount
from openledger_protocol.signatures import address_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the contributor's page, for want of chromium"),
]

SITE, ENDPOINT = "https://page.test/", "https://page.test/rpc"
KEY = OWNER_KEYS[2]
OWNER = address_of(KEY)
REWARDS = load_contract("AttributionRewards")
Change = Callable[[str, Any], Any]
WALLET = """window.ethereum = { request: ({ method, params }) => window.askWallet(method, params ?? []) };"""


@pytest.fixture(scope="module")
def session() -> Iterator[Economy]:
    """A final claim that credits an owner, who has withdrawn once."""
    session = open_economy()
    first = session.open(OPEN)
    session.settle(session.record(*session.owed(first, [10_007, 200_003, 30_011, 400_001])))
    session.take_out(KEY)
    session.settle(session.record(*session.owed(first, [0, 101_009])))
    yield session
    session.client.close()


@dataclass
class Wallet:
    """A browser's wallet: it answers the page, and notes the transactions that it is asked to send."""

    chain_id: int
    account: str = OWNER
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
def wallet(session: Economy) -> Wallet:
    return Wallet(chain_id=session.network.chain_id)


@pytest.fixture
def page(browser: Browser, session: Economy, wallet: Wallet) -> Iterator[Page]:
    """The page, which must complain of nothing and ask nobody but its endpoint."""
    seen = Seen()
    page = browser.new_page()
    page.expose_function("askWallet", wallet.answer)
    page.add_init_script(WALLET)
    html = render_page(replace(session.network, rpc=(ENDPOINT,)))
    page.route(SITE, lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
    answer_with(page, session)
    seen.watch(page)
    page.goto(SITE)
    yield page
    page.close()
    assert seen.complaints == []
    assert seen.hosts <= {"page.test"}


def answer_with(page: Page, session: Economy, change: Change | None = None) -> None:
    """Answer what the page asks of the chain, or something else."""
    methods = RpcMethods(session.client._chain, "openledger-node/test")

    def answer(route: Route) -> None:
        asked = route.request.post_data_json
        result = methods.answer(asked["method"], asked["params"])
        told = change(asked["method"], result) if change else result
        route.fulfill(json={"jsonrpc": "2.0", "id": asked["id"], "result": told})

    page.route(ENDPOINT, answer)


def look(page: Page, who: str) -> list[str]:
    """Look at an account, and return the amounts that are shown."""
    page.get_by_label("Address").fill(who)
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("button", name="Look")).to_be_enabled()
    return page.locator("dd").all_inner_texts()


def withdraw(page: Page) -> None:
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_role("button", name="Withdraw")).to_be_enabled()


def test_the_page_shows_earnings_and_asks_for_a_withdrawal(page: Page, session: Economy, wallet: Wallet) -> None:
    assert look(page, account(0x77)) == [open_amount(0)] * 3
    expect(page.get_by_role("button", name="Withdraw")).to_be_disabled()
    taken = session.taken_out[OWNER]
    balance = read_contributor([session.client], session.network, OWNER).balance_wei
    assert look(page, OWNER) == [open_amount(balance + taken), open_amount(taken), open_amount(balance)]
    withdraw(page)
    call = REWARDS.encode("withdraw", [OWNER])
    rewards = session.network.contracts["AttributionRewards"]
    assert wallet.sent == [{"from": OWNER, "to": rewards, "data": "0x" + call.hex()}]
    expect(page.get_by_role("status")).to_contain_text("Sent as 0xabab")
    RpcMethods(session.client._chain, "test").answer("eth_call", [wallet.sent[0], "latest"])  # it does not revert


def test_a_wallet_on_another_chain_is_not_asked(page: Page, wallet: Wallet) -> None:
    wallet.chain_id = 5
    look(page, OWNER)
    withdraw(page)
    expect(page.get_by_role("status")).to_contain_text("The wallet is on chain 5")
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
    ("change", "why"),
    [
        (elsewhere, "on another chain"),
        (without(REWARDS.topic_of("Credited")), "left payments out"),
        (without(REWARDS.topic_of("Withdrawn")), "left payments out"),
        (markup, "something that is no number"),
    ],
)
def test_after_a_lie_nothing_can_be_withdrawn(page: Page, session: Economy, change: Change, why: str) -> None:
    answer_with(page, session, change)
    look(page, OWNER)
    expect(page.get_by_role("status")).to_contain_text(why)
    expect(page.get_by_role("button", name="Withdraw")).to_be_hidden()
    assert page.locator("img").count() == 0
