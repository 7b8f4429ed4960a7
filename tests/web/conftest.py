"""A browser, nodes on the fake engine, and pages that must complain of nothing and ask nobody elsewhere.

A new test takes one of these nodes. Those of the earner run in one worker and the others in another, so that each
node is started once:

    alone    no network, no adapter; a test that pauses it or changes its limits puts that back
    trainer  no network; two adapters trained here, one of them asked once
    teacher  the same node; adapters that a test trains are removed after the test
    earner   a development chain of its own, and more votes than the quorum; its guest has paid it twice
    taught   a development chain of its own, no bond; people with names have taught the adapter that it has published

If your test needs a node in another state, change its answers with `support.pages.change_answers`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.pages import CHROMIUM, KEEP_INTERVALS, LOOPBACK, TIMEOUT_MS, Seen, enter, open_context
from support.processes.nodes import EMBEDDED, Node, ask, command_json, operator_of, running_node, wait_for
from support.processes.taught import buy_as_guest, taught_node

from openledger_node.home import Home

OpenPage = Callable[..., Page]
TRAINS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_FACTORY_TRAINER": "fake"}
ADAPTERS = ("lake", "harbour")

expect.set_options(timeout=TIMEOUT_MS)  # other programs run beside the tests


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and Path(__file__).parent in item.path.parents:
            is_earners = "earner" in item.fixturenames or "[earner" in item.name
            item.add_marker(pytest.mark.xdist_group("web-earner" if is_earners else "web"))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip("NOT TESTED: the page, for want of chromium"))


# ---- nodes


def start(folder: pytest.TempPathFactory, name: str, **settings: str) -> Any:
    return running_node(Home(folder.mktemp(name)), "--backend", "fake", **settings)


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with start(tmp_path_factory, "alone", **TRAINS) as node:
        yield node


@pytest.fixture(scope="session")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with start(tmp_path_factory, "trainer", **TRAINS) as node:
        with operator_of(node.home) as operator, node.client() as client:
            for name in ADAPTERS:
                operator.post("/factory/train", json={"name": name, "sample": True, "epochs": 1}).raise_for_status()
                wait_for(lambda: operator.get("/factory").json()["run"]["state"] == "done")
            body = {"model": ADAPTERS[0], "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
            client.post("/v1/chat/completions", json=body).raise_for_status()
        yield node


@pytest.fixture(scope="session")
def earner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with start(tmp_path_factory, "earner", **EMBEDDED, **TRAINS) as node:
        for _ in range(2):
            buy_as_guest(node.home, model="fake")
        wait_for(lambda: command_json(node.home, "stake", "show", **EMBEDDED)["is_appointed"])
        command_json(node.home, "devnet", "fund", "--open", "50000000", **EMBEDDED)
        command_json(node.home, "gov", "delegate", "self", "--yes", **EMBEDDED)
        delegated: int = ask(node.home, "network")["block"]
        with operator_of(node.home) as operator:
            wait_for(lambda: is_all_claimed(operator.post("/money/earnings", json={}).json()))
        wait_for(lambda: ask(node.home, "network")["block"] > delegated + 1)  # votes of a past block can propose
        yield node


def is_all_claimed(found: dict[str, str]) -> bool:
    """True once all that was earned is claimed, and every claim is final."""
    return found["pending_wei"] == found["settled_wei"] == "0" != found["claimed_wei"]


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with taught_node(Home(tmp_path_factory.mktemp("taught"))) as node:
        yield node


@pytest.fixture
def teacher(trainer: Node) -> Iterator[Node]:
    """A node with no training under way; what a test trains on it is gone after the test."""
    yield trainer
    with operator_of(trainer.home) as operator:
        if operator.get("/factory").json()["run"]["state"] in ("waiting", "training", "paused", "evaluating"):
            command_json(trainer.home, "factory", "stop", **TRAINS)
        for each in operator.get("/adapters").json()["adapters"]:
            if each["name"] not in ADAPTERS:
                command_json(trainer.home, "adapters", "remove", each["full_name"], "--yes", **TRAINS)


# ---- pages


@pytest.fixture
def seen() -> Seen:
    """What the test's pages did beside what it looks at; a test that breaks something on purpose forgives it."""
    return Seen()


@pytest.fixture(scope="session")
def shared(browser: Browser) -> Iterator[BrowserContext]:
    """A browser context whose cache is warm: a page opens there in half of the processor time."""
    with open_context(browser) as context:
        context.new_page()  # an empty one stays, so that there is always a tab
        yield context


@pytest.fixture
def open_page(browser: Browser, shared: BrowserContext, seen: Seen) -> Iterator[OpenPage]:
    """Open a node's page in a new tab that knows no node yet: `open_page(node, "home", width=380, scheme="dark")`.

    With a `script`, which runs before the page's own scripts, or if `is_own`, it is a new browser context, too. Take
    that where a test installs a clock or adds a script later, since these can't be taken away again.
    """
    own: list[BrowserContext] = []
    (empty,) = shared.pages

    def open_it(
        node: Node,
        screen: str = "home",
        *,
        width: int = 1280,
        scheme: str = "light",
        script: str = "",
        is_own: bool = False,
    ) -> Page:
        if script or is_own:
            own.append(context := open_context(browser))
            context.add_init_script(script)
        else:
            context = shared
            context.clear_cookies()
        page = context.new_page()
        page.add_init_script(f"({KEEP_INTERVALS})()")
        forget(page, node.url)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # one of three words
        seen.watch(page)
        enter(page, node.home, screen)
        return page

    yield open_it
    for context in (shared, *own):
        context.unroute_all(behavior="ignoreErrors")  # what is still being asked is of no interest any more
    for context in own:
        context.close()
    for page in shared.pages:
        if page is not empty:
            page.close()
    shared.clear_permissions()
    assert seen.is_forgiven or seen.complaints == [], "a page complained"
    assert seen.hosts <= LOOPBACK, "a page asked somebody elsewhere"


def forget(page: Page, url: str) -> None:
    """Empty what the browser keeps for a node's page."""
    session = page.context.new_cdp_session(page)
    session.send("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "local_storage"})
    session.detach()
