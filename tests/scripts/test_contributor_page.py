"""The contributor's page in a real browser: it shows what the command reads, and a chain's texts stay texts."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from audited_economy import CONTRIBUTORS, Economy, open_economy
from playwright.sync_api import Browser, Page, expect
from support.chain_world.contract_world import OPEN, OWNER_KEYS
from support.pages import CHROMIUM, Seen, open_browser
from support.signed import account

from openledger_node.audit.awards import PENDING, AwardState
from openledger_node.audit.contributor import read_contributor
from openledger_node.audit.contributor_page import render_page
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.cli.units import open_amount
from openledger_node.network_file import Network
from openledger_protocol.signatures import address_of

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the contributor's page, for want of chromium"),
]

NAME = "<img src=x onerror=alert(1)>"
OWNER = address_of(OWNER_KEYS[2])
Change = Callable[[str, Any], Any]


@dataclass
class Site:
    """A web site with the page, and endpoints of the chain under the same address."""

    url: str
    network: Network
    changes: dict[str, Change] = field(default_factory=dict)  # by path: what an endpoint tells otherwise

    @property
    def rpc(self) -> str:
        return f"{self.url}/rpc"


@pytest.fixture(scope="module")
def session() -> Iterator[Economy]:
    """Claims that are final, lapsed, drawn and in review, and a Datanet whose name is markup."""
    session = open_economy()
    session.must("DatanetRegistry", "create", NAME, account(0x91), 0, "CC0-1.0", 2, key=OWNER_KEYS[0])
    first = session.open(OPEN)
    session.settle(session.record(*session.owed(first, [10_007, 200_003, 30_011, 400_001])))
    session.take_out(OWNER_KEYS[2], account(0x78), 100)
    drawn, listed = (session.record(*session.owed(first, [0, amount])) for amount in (20_011, 40_009))
    session.offer(drawn)
    session.draw(drawn)
    session.offer(listed)
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
            change = place.changes.get(self.path)
            told = change(asked["method"], result) if change else result
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The page, which must complain of nothing and ask nobody else."""
    seen = Seen()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    seen.watch(page)
    page.goto(site.url)
    yield page
    context.close()
    site.changes.clear()
    assert seen.complaints == []
    assert seen.hosts <= {"127.0.0.1"}


def look(page: Page, who: str, *, rpc: str | None = None, second: str = "") -> None:
    page.get_by_label("Address").fill(who)
    if rpc is not None:
        page.get_by_label("JSON-RPC endpoint").fill(rpc)
    page.get_by_label("Compare with").fill(second)
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("button", name="Look")).to_be_enabled()


def facts(page: Page) -> dict[str, str]:
    names, values = page.locator("dt").all_inner_texts(), page.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def rows(page: Page, title: str) -> list[list[str]]:
    section = page.locator("section", has=page.get_by_role("heading", name=title, exact=True))
    return [row.locator("td").all_inner_texts() for row in section.locator("tbody tr").all()]


def test_it_shows_what_the_command_reads(page: Page, session: Economy) -> None:
    look(page, CONTRIBUTORS[0])
    report = read_contributor([session.client], session.network, CONTRIBUTORS[0])
    shown = facts(page)
    assert shown["Ready to withdraw"] == open_amount(report.balance_wei)
    assert shown["Pending"] == open_amount(report.sum_wei(*PENDING))
    assert shown["Final, for rows"] == open_amount(report.sum_wei(AwardState.FINAL))
    assert page.locator("#proof").get_attribute("class") == "good"
    assert [(row[0], row[1], row[4]) for row in rows(page, "Payouts")] == [
        (f"{award.node[:8].lower()}…/{award.seq}", award.state, open_amount(award.amount_wei))
        for award in report.awards
    ]
    assert sum(len(rows(page, title)) for title in ("Datanets", "Adapters", "Days (UTC)")) >= 3


def test_credits_in_other_roles_and_withdrawals_are_there(page: Page, session: Economy) -> None:
    look(page, OWNER)
    report = read_contributor([session.client], session.network, OWNER)
    assert facts(page)["Withdrawn"] == open_amount(100)
    assert facts(page)["Credited in other roles"] == open_amount(sum(each.amount_wei for each in report.others))
    assert [row[1] for row in rows(page, "Withdrawals")] == [open_amount(100)]


def test_a_name_on_the_chain_is_only_a_text(page: Page, session: Economy, site: Site) -> None:
    created = load_contract("DatanetRegistry").topic_of("DatanetCreated")
    paid = read_contributor([session.client], session.network, CONTRIBUTORS[0]).awards[0].datanet_id

    def renamed(method: str, result: Any) -> Any:
        """Give the Datanet that pays the name of the one whose name is markup."""
        if method != "eth_getLogs":
            return result
        logs = [log for log in result if log["topics"][0] == created]
        others = [log for log in result if log["topics"][0] != created]
        markup = [log for log in logs if NAME.encode().hex() in log["data"]]
        return [*others, *({**log, "topics": [created, paid, *log["topics"][2:]]} for log in markup)]

    site.changes["/rpc"] = renamed
    look(page, CONTRIBUTORS[0])
    assert NAME in [row[0] for row in rows(page, "Datanets")]
    assert page.locator("img").count() == 0


def without(topic: str) -> Change:
    def change(method: str, result: Any) -> Any:
        return [log for log in result if log["topics"][0] != topic] if method == "eth_getLogs" else result

    return change


@pytest.mark.parametrize(
    ("contract", "event"),
    [("AttributionRewards", "Proposed"), ("AttributionRewards", "Credited"), ("PaymentChannels", "Claimed")],
)
def test_an_event_that_is_left_out_is_missed(page: Page, site: Site, contract: str, event: str) -> None:
    site.changes["/rpc"] = without(load_contract(contract).topic_of(event))
    look(page, CONTRIBUTORS[0])
    assert page.locator("#proof").get_attribute("class") == "bad"


def test_a_list_with_another_weight_is_not_the_one_on_the_chain(page: Page, site: Site) -> None:
    topic = load_contract("AttributionRewards").topic_of("Proposed")

    def heavier(method: str, result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        return [
            {**log, "data": log["data"][:-1] + ("0" if log["data"][-1] != "0" else "1")}
            if log["topics"][0] == topic
            else log
            for log in result
        ]

    site.changes["/rpc"] = heavier
    look(page, CONTRIBUTORS[0])
    assert "payout list hashes to" in page.locator("#proof").inner_text()


def test_an_answer_that_can_not_be_parsed_is_explained(page: Page, site: Site) -> None:
    topic = load_contract("PaymentChannels").topic_of("Claimed")

    def cut(method: str, result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        return [{**log, "data": log["data"][:-320]} if log["topics"][0] == topic else log for log in result]

    site.changes["/rpc"] = cut
    look(page, CONTRIBUTORS[0])
    expect(page.get_by_role("status")).to_contain_text("sent something that this page can't read")


def test_two_endpoints_that_agree_are_named(page: Page, site: Site) -> None:
    look(page, CONTRIBUTORS[0], second=f"{site.url}/second")
    assert "2 endpoints that tell the same" in facts(page)["Read"]


def test_two_endpoints_that_differ_show_nothing(page: Page, site: Site) -> None:
    site.changes["/second"] = without(load_contract("AttributionRewards").topic_of("Proposed"))
    look(page, CONTRIBUTORS[0], second=f"{site.url}/second")
    expect(page.get_by_role("status")).to_contain_text("tell different histories")
    assert page.locator("#shown").inner_text() == ""


@pytest.mark.parametrize(
    ("who", "rpc", "why"),
    [
        ("0x12", None, "That is no address"),
        (CONTRIBUTORS[0], "harbour", "Name an endpoint"),
        (CONTRIBUTORS[0], "{url}/elsewhere", "on another chain"),
        (CONTRIBUTORS[0], "{url}/wrong", "is on chain 5, not on"),
    ],
)
def test_a_slip_is_explained(page: Page, site: Site, who: str, rpc: str | None, why: str) -> None:
    site.changes["/elsewhere"] = lambda method, result: (
        {**result, "hash": "0x" + "0" * 64} if method == "eth_getBlockByNumber" else result
    )
    site.changes["/wrong"] = lambda method, result: "0x5" if method == "eth_chainId" else result
    look(page, who, rpc=rpc.format(url=site.url) if rpc else None)
    expect(page.get_by_role("status")).to_contain_text(why)


def test_the_page_needs_no_other_file(site: Site) -> None:
    text = render_page(site.network)
    assert "default-src 'none'" in text
    assert "src=" not in text.replace("default-src", "").replace("script-src", "").replace("style-src", "")
    assert "innerHTML" not in text
    assert "<link" not in text


def test_a_network_cannot_put_markup_into_the_page(site: Site) -> None:
    token = replace(site.network.token, symbol="</script><b>")
    assert "</script><b>" not in render_page(replace(site.network, token=token))
