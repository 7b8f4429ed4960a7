"""A browser, nodes on the fake engine, and pages that must complain of nothing and ask nobody elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.commands import command_json
from support.nodes import Node, running_node
from support.page_towns import open_page_town
from support.pages import CHROMIUM, LOOPBACK, TIMEOUT_MS, Seen, enter, open_browser, open_context, operator_of
from support.towns import status_of

from openledger_node.api_key import load_api_key
from openledger_node.home import Home

OpenPage = Callable[..., Page]
EMBEDDED = {"OPENLEDGER_NODE_NETWORK": "auto", "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "1"}
EARNED_WITHIN_S = 60.0
expect.set_options(timeout=TIMEOUT_MS)  # other programs run beside the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("web")
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip("NOT TESTED: the page, for want of chromium"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on no network: the first minutes of most operators."""
    with running_node(Home(tmp_path_factory.mktemp("alone")), "--backend", "fake") as node:
        yield node


@pytest.fixture(scope="session")
def earner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on a chain of its own, whose guest has paid it twice and which has claimed some of it."""
    home = Home(tmp_path_factory.mktemp("earner"))
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        for _ in range(2):
            command_json(home, "chat", "hello", "--as-guest", "--max-tokens", "20", **EMBEDDED)
        with operator_of(home) as operator:
            _wait_until_final(operator)
        yield node


@pytest.fixture(scope="session")
def among_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node among peers, that has sold and earned, and now loses its bids to a cheaper one."""
    with open_page_town(tmp_path_factory.mktemp("town")) as town:
        home, status = Home(town.a.root), status_of(town.a)
        assert town.a.daemon is not None
        yield Node(home=home, process=None, url=status["api"]["url"], key=load_api_key(home))  # type: ignore[arg-type]


@pytest.fixture
def seen() -> Seen:
    """What the test's pages did beside what it looks at; a test that breaks something on purpose forgives it."""
    return Seen()


@pytest.fixture
def open_page(browser: Browser, seen: Seen) -> Iterator[OpenPage]:
    """Open a node's page in a browser of its own: `open_page(node, "home", width=380, scheme="dark")`."""
    contexts: list[BrowserContext] = []

    def open_it(
        node: Node, screen: str = "home", *, width: int = 1280, scheme: str = "light", script: str = ""
    ) -> Page:
        context = open_context(browser, width=width, scheme=scheme)
        contexts.append(context)
        context.add_init_script(script)
        page = context.new_page()
        seen.watch(page)
        enter(page, node.home, screen)
        return page

    yield open_it
    for context in contexts:
        context.unroute_all(behavior="ignoreErrors")  # what is still being asked is of no interest any more
        context.close()
    assert seen.is_forgiven or seen.complaints == [], "a page complained"
    assert seen.hosts <= LOOPBACK, "a page asked somebody elsewhere"


def _wait_until_final(operator: httpx.Client) -> None:
    deadline_s = time.monotonic() + EARNED_WITHIN_S
    while time.monotonic() < deadline_s:
        found = operator.post("/money/earnings", json={}).json()
        if found["pending_wei"] == found["settled_wei"] == "0" != found["claimed_wei"]:
            return
        threading.Event().wait(0.2)
    raise AssertionError("the claims never became final")
