"""A browser, nodes on the fake engine, and pages that must complain of nothing and ask nobody elsewhere.

HOW A NEW TEST GETS ITS NODE. Take one that runs already. Each fixture below is opened once for all files, in a thread
of its own while the tests before it run. The tests are put in an order in which those of one node follow each other,
and the node is closed after the last one. Choose the first that has what your test looks at:

    alone         no network, no adapter; anybody may chat, pause it and change its limits, and puts that back
    untouched     no network, no adapter; nobody asks it anything
    novice        the same; one test alone trains on it
    trainer       no network; two adapters trained here, one of them asked once
    teacher       the same node; what a test trains on it is stopped and removed after the test
    earner        a development chain of its own; its guest has paid it twice, and its claims are final
    taught        the same, without a bond; people with names have taught the adapter that it has published
    among_others  the first of three nodes on one chain: it has peers, sales and lost bids (`network_with_sales`)
    broke         a development chain of its own, but no gas to spend, so that something waits for its owner
    voter         a development chain of its own, with more votes than the quorum; test_governance alone uses it

A test leaves its node as it found it, with one exception: test_money spends what `earner` has, after the files that
only look at it. If your test needs a node in another state, change its answer with `page.route`, as test_states does.
Start a node of your own only if no test can share it. Ask the node with `command_json(node.home, "status")`, which
runs the command in this process, or with `operator_of(node.home)`.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support.pages import CHROMIUM, KEEP_INTERVALS, LOOPBACK, TIMEOUT_MS, Seen, enter, open_browser, open_context
from support.processes.network import network_with_sales, node_of
from support.processes.nodes import EMBEDDED, Node, ask, command_json, operator_of, running_node, wait_for
from support.processes.taught import buy_as_guest, taught_node

from openledger_node.home import Home

OpenPage = Callable[..., Page]
TRAINS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_FACTORY_TRAINER": "fake"}
ADAPTERS = ("lake", "harbour")
OPENED_AT_ONCE = 2
"""The node of the test that runs, and the next one. More would only take the processor from the tests."""

expect.set_options(timeout=TIMEOUT_MS)  # other programs run beside the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in filter(is_ours, items):
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip("NOT TESTED: the page, for want of chromium"))
    items[:] = in_turn(items)


# ---- nodes


@contextmanager
def open_alone(root: Path) -> Iterator[Node]:
    with running_node(Home(root), "--backend", "fake") as node:
        yield node


@contextmanager
def open_untouched(root: Path) -> Iterator[Node]:
    with running_node(Home(root), "--backend", "fake", **TRAINS) as node:
        yield node


@contextmanager
def open_trainer(root: Path) -> Iterator[Node]:
    home = Home(root)
    with running_node(home, "--backend", "fake", **TRAINS) as node:
        with operator_of(home) as operator, node.client() as client:
            for name in ADAPTERS:
                operator.post("/factory/train", json={"name": name, "sample": True, "epochs": 1}).raise_for_status()
                wait_for(lambda: operator.get("/factory").json()["run"]["state"] == "done")
            body = {"model": ADAPTERS[0], "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
            client.post("/v1/chat/completions", json=body).raise_for_status()
        yield node


@contextmanager
def open_earner(root: Path) -> Iterator[Node]:
    home = Home(root)
    with running_node(home, "--backend", "fake", **EMBEDDED, **TRAINS) as node:
        for _ in range(2):
            buy_as_guest(home, model="fake")
        with operator_of(home) as operator:
            wait_for(lambda: is_all_claimed(operator.post("/money/earnings", json={}).json()))
        yield node


@contextmanager
def open_taught(root: Path) -> Iterator[Node]:
    with taught_node(Home(root)) as node:
        yield node


@contextmanager
def open_among_others(root: Path) -> Iterator[Node]:
    with network_with_sales(root) as running:
        yield node_of(running.a)


@contextmanager
def open_broke(root: Path) -> Iterator[Node]:
    budget = {"OPENLEDGER_CHAIN_GAS_BUDGET_WEI": "1"}
    with running_node(Home(root), "--backend", "fake", **EMBEDDED, **budget) as node:
        yield node


@contextmanager
def open_voter(root: Path) -> Iterator[Node]:
    home = Home(root)
    with running_node(home, "--backend", "fake", **EMBEDDED) as node:
        wait_for(lambda: command_json(home, "stake", "show", **EMBEDDED)["is_appointed"])  # funded by the bank before
        command_json(home, "devnet", "fund", "--open", "50000000", **EMBEDDED)
        command_json(home, "gov", "delegate", "self", "--yes", **EMBEDDED)
        delegated: int = ask(home, "network")["block"]
        wait_for(lambda: ask(home, "network")["block"] > delegated + 1)  # votes of a past block can propose
        yield node


OPENERS: dict[str, Callable[[Path], AbstractContextManager[Node]]] = {
    "alone": open_alone,
    "untouched": open_untouched,
    "novice": open_untouched,
    "trainer": open_trainer,
    "earner": open_earner,
    "taught": open_taught,
    "among_others": open_among_others,
    "broke": open_broke,
    "voter": open_voter,
}


def is_all_claimed(found: dict[str, str]) -> bool:
    """True once all that was earned is claimed, and no claim can be disputed any more."""
    return found["pending_wei"] == found["settled_wei"] == "0" != found["claimed_wei"]


class Nodes:
    """The nodes that the tests want, each open from shortly before its first test until its last one has ended.

    A node that nobody asks still takes a thirtieth of a core, and so does its chain.
    """

    def __init__(self, items: Sequence[pytest.Item], folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._to_open = wanted(items)
        self._last = {name: item for item in items for name in nodes_of(item)}
        self._pool = ThreadPoolExecutor(OPENED_AT_ONCE)
        self._opening: dict[str, Future[tuple[ExitStack, Node]]] = {}
        self._closing: list[Future[None]] = []

    def take(self, name: str) -> Node:
        """Return a node once it is open, and begin to open the next one."""
        while name not in self._opening:
            self._begin()
        self._open_ahead()
        return self._opening[name].result()[1]

    def end_test(self, item: pytest.Item) -> None:
        """Close the nodes that no later test wants."""
        for name in [name for name in self._opening if self._last[name] is item]:
            self._closing.append(self._pool.submit(self._close, self._opening.pop(name)))
        self._open_ahead()

    def close(self) -> None:
        """Close the nodes that are open."""
        self._closing += [self._pool.submit(self._close, each) for each in self._opening.values()]
        self._pool.shutdown()
        for closing in self._closing:
            closing.result()

    def _open_ahead(self) -> None:
        while self._to_open and self._opening and len(self._opening) < OPENED_AT_ONCE:
            self._begin()

    def _begin(self) -> None:
        name = self._to_open.pop(0)
        self._opening[name] = self._pool.submit(self._open, name, self._folder(name))

    @staticmethod
    def _open(name: str, root: Path) -> tuple[ExitStack, Node]:
        with ExitStack() as stack:
            node = stack.enter_context(OPENERS[name](root))
            return stack.pop_all(), node

    @staticmethod
    def _close(opening: "Future[tuple[ExitStack, Node]]") -> None:
        if opening.exception() is None:
            opening.result()[0].close()


def nodes_of(item: pytest.Item) -> list[str]:
    """The names of the nodes that a test wants."""
    if not isinstance(item, pytest.Function) or not is_ours(item):
        return []
    chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return [name for name in (*item.fixturenames, *chosen) if isinstance(name, str) and name in OPENERS]


def wanted(items: Sequence[pytest.Item]) -> list[str]:
    """The nodes that tests of this folder want, in the order of their first use."""
    return list(dict.fromkeys(name for item in items for name in nodes_of(item)))


def in_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests of this folder in the order of their nodes; those with nodes of their own come first."""
    order = wanted(items)

    def turn(item: pytest.Item) -> int:
        return max((order.index(name) for name in nodes_of(item)), default=-1)

    own = iter(sorted(filter(is_ours, items), key=turn))
    return [next(own) if is_ours(item) else item for item in items]


def is_ours(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


@pytest.fixture(scope="session")
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    opened = Nodes(request.session.items, tmp_path_factory.mktemp)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def close_unwanted(request: pytest.FixtureRequest, nodes: Nodes) -> Iterator[None]:
    yield
    nodes.end_test(request.node)


@pytest.fixture(scope="session")
def alone(nodes: Nodes) -> Node:
    return nodes.take("alone")


@pytest.fixture(scope="session")
def untouched(nodes: Nodes) -> Node:
    return nodes.take("untouched")


@pytest.fixture(scope="session")
def novice(nodes: Nodes) -> Node:
    return nodes.take("novice")


@pytest.fixture(scope="session")
def trainer(nodes: Nodes) -> Node:
    return nodes.take("trainer")


@pytest.fixture(scope="session")
def earner(nodes: Nodes) -> Node:
    return nodes.take("earner")


@pytest.fixture(scope="session")
def taught(nodes: Nodes) -> Node:
    return nodes.take("taught")


@pytest.fixture(scope="session")
def among_others(nodes: Nodes) -> Node:
    return nodes.take("among_others")


@pytest.fixture(scope="session")
def broke(nodes: Nodes) -> Node:
    return nodes.take("broke")


@pytest.fixture(scope="session")
def voter(nodes: Nodes) -> Node:
    return nodes.take("voter")


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


@pytest.fixture(scope="session")
def restart() -> Iterator[Callable[[Node], None]]:
    """Start a node again that was killed, on the same port."""
    with ExitStack() as again:

        def start(node: Node) -> None:
            port = node.url.rpartition(":")[2]
            node.process = again.enter_context(
                running_node(node.home, "--backend", "fake", "--port", port, **TRAINS)
            ).process

        yield start


# ---- pages


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


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
