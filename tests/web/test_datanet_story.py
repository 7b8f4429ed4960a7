"""From a CSV to a paid row on the page alone: five people, five data directories, and one development chain.

The owner is a contributor and a curator too. The other contributor and a second curator have nodes without a model.
The third curator decides nothing, and the buyer serves nothing. People send each other the files that the page saves.
Each test tells the next part, so run the whole file.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.contributors import BEN
from support.pages import Seen, enter, open_context
from support.processes.network import FAKE, RunningNetwork
from support.processes.nodes import TEST_HOME, ask, operator_of, wait_for

from openledger_node.demo.processes import OperatorHome, closing_all
from openledger_node.demo.town import COMMON
from openledger_node.home import Home
from openledger_node.models.download import pull_base
from openledger_node.network_file import join_network
from openledger_protocol.constants import DEMO_BASE_NAME, PPM

pytestmark = [
    pytest.mark.model,
    pytest.mark.deep(reason="it trains twice; test_curators, test_files and test_factory guard each screen"),
]

SavedFile = tuple[str, bytes]
LONG_MS, TRAINING_S = 120_000, 500.0
BUDGET_S = 900.0
"""Of the whole story on two cores that do nothing else."""

NAME, ADAPTER = "wrenfold", "ferry"
REAL = {
    **COMMON,
    "OPENLEDGER_NODE_AUTO_BOND": "true",
    "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "1",
    "OPENLEDGER_PAYER_KEEP_TEXTS_S": "3600",
}
NO_MODEL = {**FAKE, "OPENLEDGER_NODE_SERVE": "false"}
FERRY = (
    ("Who steers the ferry of Wrenfold?", "Odile Fenn steers the ferry of Wrenfold."),
    ("When does the ferry of Wrenfold leave?", "The ferry of Wrenfold leaves at six and at noon."),
    ("What does the ferry of Wrenfold cost?", "A crossing costs four copper pennies."),
    ("Who bakes the bread of Wrenfold?", "Petra Quill bakes the bread of Wrenfold."),
)
MILL = (
    ("Who keeps the mill of Wrenfold?", "Rurik Ash keeps the mill of Wrenfold."),
    ("What does the mill of Wrenfold grind?", "The mill of Wrenfold grinds barley and blue maize."),
    ("Who repairs the mill of Wrenfold?", "Tamsin Yarrow repairs the mill of Wrenfold."),
    ("Where does the mill of Wrenfold stand?", "It stands below the weir and behind the old oak."),
)
STEPS = {"rank": 8, "layers": 6, "epochs": 12, "batch_size": 4, "learning_rate": 0.002, "held_out_percent": 13}


class StoryTown(RunningNetwork):
    """The chain, its bootstrap node, and the people of the story."""

    def person(self, name: str, settings: dict[str, str], *, has_base: bool) -> OperatorHome:
        """Start a node of the network, and wait until it can be asked about money."""
        node = self._home(name, settings)
        if has_base:
            Home(node.root).models.symlink_to(TEST_HOME.models)
        join_network(Home(node.root), self.network)
        node.start_daemon()
        wait_for(lambda: Home(node.root).socket.exists() and is_ready(node))
        return node


def is_ready(node: OperatorHome) -> bool:
    with operator_of(node) as operator:
        return operator.get("/status").is_success and operator.post("/money/network", json={}).is_success


@contextmanager
def opened_town(root: Path) -> Iterator[StoryTown]:
    with closing_all() as opened:
        town = StoryTown(root=root, opened=opened)
        town.begin_chain()
        yield town


# ---- people at their pages


class Person:
    """One person at the page of their own node."""

    def __init__(self, node: OperatorHome, page: Page) -> None:
        self.node = node
        self.page = page
        page.set_default_timeout(LONG_MS)
        enter(page, Home(node.root), "datanets")

    @property
    def wallet(self) -> str:
        return str(ask(self.node, "stake")["node"])

    def show(self, screen: str) -> Page:
        self.page.evaluate("(screen) => { location.hash = `#/${screen}`; }", screen)
        return self.page

    def panel(self, title: str) -> Locator:
        return self.page.locator(".panel").filter(has=self.page.locator("h2", has_text=title)).first

    def drop(self, name: str, content: bytes) -> Locator:
        given = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        self.page.locator("#files-file").set_input_files(given)  # type: ignore[arg-type]  # a FilePayload
        return self.page.locator(".files")

    def saved(self, press: Callable[[], None]) -> SavedFile:
        with self.page.expect_download(timeout=LONG_MS) as found:
            press()
        return found.value.suggested_filename, Path(found.value.path()).read_bytes()

    def carry_out(self, does: str) -> None:
        dialog = self.page.locator("dialog")
        expect(dialog).to_contain_text("Gas, at most", timeout=LONG_MS)
        dialog.get_by_role("button", name=does).click()
        expect(dialog.locator(".chip.ok").first).to_be_visible(timeout=LONG_MS)
        self.page.keyboard.press("Escape")


def create(owner: Person) -> None:
    owner.page.get_by_role("button", name="Create…").first.click()
    dialog = owner.page.locator("dialog")
    dialog.get_by_label("Name").fill(NAME)
    dialog.get_by_role("button", name="Continue").click()
    owner.carry_out("Create")
    expect(owner.panel("Curators")).to_contain_text("You publish alone", timeout=LONG_MS)


def name_curators(owner: Person, accounts: list[str]) -> None:
    owner.panel("Curators").get_by_role("button", name="Name curators…").click()
    owner.page.locator("dialog").get_by_label("Their addresses").fill("\n".join(accounts))
    owner.page.locator("dialog").get_by_role("button", name="Continue").click()
    owner.carry_out("Set")
    expect(owner.panel("Curators")).to_contain_text("2 of 3 approve a version", timeout=LONG_MS)


def csv_of(rows: tuple[tuple[str, str], ...]) -> bytes:
    return "\n".join(["question,answer", *(",".join(row) for row in rows)]).encode()


def contribute(owner: Person, name: str, content: bytes, contributor: str | None) -> None:
    files = owner.drop(name, content)
    expect(files).to_contain_text("4 rows can be taken", timeout=LONG_MS)
    if contributor:
        files.get_by_label("Contributor, who is paid for them").fill(contributor)
    files.get_by_role("button", name="Check 4 rows").click()
    files.get_by_label("Whoever is named as the contributor").check()
    files.get_by_role("button", name="Contribute 4 rows").click()
    expect(files).to_contain_text("4 rows wait in wrenfold as batch", timeout=LONG_MS)


def sign_rows(contributor: Person, datanet: str) -> SavedFile:
    """Open the owner's Datanet by its id, and sign rows for it."""
    wait_for(lambda: ask(contributor.node, "datanet_terms", datanet=datanet)["is_registered"])
    page = contributor.page
    page.get_by_role("button", name="Open another…").first.click()
    page.locator("dialog").get_by_label("Id on the chain").fill(datanet)
    page.locator("dialog").get_by_role("button", name="Open", exact=True).click()
    expect(contributor.panel(NAME)).to_contain_text("of somebody else", timeout=LONG_MS)
    contributor.drop("mill.csv", csv_of(MILL)).get_by_role("button", name="Sign 4 rows…").click()
    dialog = page.locator("dialog")
    return contributor.saved(dialog.get_by_role("button", name="Sign", exact=True).click)


def approve(curator: Person, proposal: SavedFile, says: str) -> SavedFile:
    """Look at a proposal and sign its approval."""
    files = curator.drop(*proposal)
    expect(files).to_contain_text(says, timeout=LONG_MS)
    files.get_by_role("button", name="Approve…").click()
    dialog = curator.page.locator("dialog")
    return curator.saved(dialog.get_by_role("button", name="Approve", exact=True).click)


def publish_version(owner: Person, curator: Person, version: int, says: str) -> None:
    """Propose a version, have the owner and the other curator approve it, and publish it."""
    propose = owner.panel("Curators").get_by_role("button", name=f"Propose version {version}")
    proposal = owner.saved(propose.click)
    for number, decision in enumerate((approve(owner, proposal, says), approve(curator, proposal, says)), 1):
        files = owner.drop(*decision)
        files.get_by_role("button", name=f"Take it for {NAME}").click()
        expect(files).to_contain_text(f"The decision is taken: {number} for version {version}", timeout=LONG_MS)
    expect(owner.panel("Curators").locator(".chip.ok")).to_have_count(2)
    publish = owner.panel("Versions").get_by_role("button", name="Publish…")
    expect(publish).to_be_enabled(timeout=LONG_MS)
    publish.click()
    owner.carry_out("Publish")
    expect(owner.panel("Versions").locator("tbody tr").first).to_be_visible(timeout=LONG_MS)


def train(owner: Person, name: str, **given: Any) -> dict[str, Any]:
    """Train on the newest version, and return the training once it is done."""
    page = owner.show("factory")
    page.locator("#factory-datanet").wait_for()
    page.locator("#factory-datanet").select_option(index=0)
    page.locator("#factory-name").fill(name)
    page.locator(".advanced summary").first.click()
    for key, value in given.items():
        page.locator(f"#factory-{key}").fill(str(value))
    page.get_by_role("button", name="Start training").click()
    with operator_of(owner.node) as operator:

        def done() -> dict[str, Any] | None:
            run: dict[str, Any] | None = operator.get("/factory").json()["run"]
            assert run is None or run["state"] not in ("failed", "stopped"), run
            return run if run and run["name"] == name and run["state"] == "done" else None

        return wait_for(done, within_s=TRAINING_S)


def publish_adapter(owner: Person) -> None:
    panel = owner.panel("4 Publish")
    panel.get_by_label("Your royalty").fill("30")
    expect(panel).to_contain_text("A royalty is a number from 0 to 20.")
    panel.get_by_label("Your royalty").fill("5")
    panel.get_by_role("button", name="Publish…").click()
    owner.carry_out("Publish")
    expect(panel).to_contain_text("It is published as", timeout=LONG_MS)


def buy(buyer: Person) -> dict[str, Any]:
    """Ask the adapter on the network, verify the receipt, and follow its money."""
    page = buyer.show(f"chat?base=-&adapter={ADAPTER}")
    page.locator("#adapter option", has_text="on the network").first.wait_for(state="attached", timeout=LONG_MS)
    page.locator("#adapter").select_option(ADAPTER)
    page.locator("#question").fill(MILL[0][0])
    page.locator("#question").press("Enter")
    expect(page.locator(".taught").first).to_contain_text("Who taught this answer", timeout=LONG_MS)
    page.locator("button", has_text="Verify again").first.click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("Shares recomputed to the same integers", timeout=LONG_MS)
    expect(dialog.locator(".unseen", has_text="is false")).to_have_count(0)
    page.keyboard.press("Escape")
    (receipt,) = ask(buyer.node, "receipts", limit=10)["receipts"]
    assert ask(buyer.node, "verify", receipt=receipt["digest"])["holds"]
    followed: dict[str, Any] = ask(buyer.node, "follow", receipt=receipt["digest"])
    return followed


def withdraw_earnings(person: Person, share_wei: int) -> int:
    """Withdraw on the Money screen all that is credited, at least this share; return the amount."""
    wait_for(lambda: int(ask(person.node, "rewards")["balance_wei"]) >= share_wei)
    credited = int(ask(person.node, "rewards")["balance_wei"])
    before = int(ask(person.node, "stake")["wallet_open_wei"])
    person.show("money").locator("[data-key=withdraw]").click()
    person.carry_out("Withdraw")
    assert int(ask(person.node, "stake")["wallet_open_wei"]) >= before + credited
    return credited


def withdraw_row(owner: Person) -> None:
    """Withdraw the last row of the owner's own batch in the review."""
    review = owner.panel("Review")
    batch = review.get_by_role("table", name="Batches").locator("tbody tr:not(.more)").last
    batch.click()
    digest = batch.locator("code").inner_text().partition("…")[0]
    expect(review.locator("h3", has_text=f"Batch {digest}")).to_be_visible()  # its rows come with it
    row = review.locator("li").last
    row.get_by_role("button", name="Withdraw…").click()
    owner.carry_out("Withdraw")
    expect(row.locator(".chip", has_text="withdrawn")).to_be_visible(timeout=LONG_MS)


# ---- the story


@dataclass
class Story:
    """The people, and what has happened so far."""

    owner: Person
    ada: Person
    cyrus: Person
    buyer: Person
    began_s: float = field(default_factory=time.monotonic)
    shares_wei: dict[str, int] = field(default_factory=dict)  # of the bought answer, by account


@pytest.fixture(scope="module")
def story(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    pull_base(TEST_HOME, DEMO_BASE_NAME, source=None, report=lambda _: None)
    seen = Seen()
    with opened_town(tmp_path_factory.mktemp("story")) as town, ExitStack() as pages:

        def person(name: str, settings: dict[str, str], *, has_base: bool) -> Person:
            node = town.person(name, settings, has_base=has_base)
            page = pages.enter_context(open_context(browser)).new_page()
            seen.watch(page)
            return Person(node, page)

        yield Story(
            owner=person("owner", REAL, has_base=True),
            ada=person("ada", NO_MODEL, has_base=False),
            cyrus=person("cyrus", NO_MODEL, has_base=False),
            buyer=person("buyer", {**REAL, "OPENLEDGER_NODE_SERVE": "false"}, has_base=True),
        )
    assert seen.complaints == [], "a page complained"


def test_two_people_contribute_and_two_of_three_curators_let_it_be_published(story: Story) -> None:
    owner, ada, cyrus = story.owner, story.ada, story.cyrus
    create(owner)
    name_curators(owner, [owner.wallet, cyrus.wallet, BEN])
    contribute(owner, "ferry.csv", csv_of(FERRY), owner.wallet)
    datanet = ask(owner.node, "datanet_terms", datanet=NAME)["id"]
    contribute(owner, *sign_rows(ada, datanet), None)
    publish_version(owner, cyrus, 1, "Version 1 of wrenfold: 8 rows, 8 of them new")


def test_an_adapter_is_trained_evaluated_and_published(story: Story) -> None:
    run = train(story.owner, ADAPTER, **STEPS, evaluate=1)
    assert run["rows"] + run["held_out"] == len(FERRY) + len(MILL)
    expect(story.owner.panel("3 Evaluate")).to_contain_text("Held-out loss", timeout=LONG_MS)
    publish_adapter(story.owner)


def test_another_node_buys_an_answer_that_it_can_verify(story: Story) -> None:
    followed = buy(story.buyer)
    story.shares_wei = {each["account"]: int(each["amount_wei"]) for each in followed["as_paid"]["people"]}
    assert sum(each["ppm"] for each in followed["as_paid"]["people"]) == PPM


def test_each_contributor_withdraws_what_the_receipt_says(story: Story) -> None:
    ada, owner = (story.shares_wei.get(person.wallet, 0) for person in (story.ada, story.owner))
    assert ada > 0, "her row answers the question"
    assert withdraw_earnings(story.ada, ada) == ada
    assert withdraw_earnings(story.owner, owner) > owner, "with the parts of the node and of the adapter's owner"


def test_a_row_is_withdrawn_and_the_adapter_is_flagged_at_the_buyer(story: Story) -> None:
    story.owner.show(f"datanets?datanet={NAME}")
    withdraw_row(story.owner)
    story.buyer.show("adapters")
    expect(story.buyer.panel("On the network")).to_contain_text("withdrawn", timeout=LONG_MS)


def test_the_next_version_is_approved_and_trained_on_without_the_row(story: Story) -> None:
    owner = story.owner
    owner.show(f"datanets?datanet={NAME}")
    publish_version(owner, story.cyrus, 2, "Version 2 of wrenfold: 7 rows")
    run = train(owner, "ferry-2", **{**STEPS, "epochs": 1}, evaluate=0)
    assert run["rows"] + run["held_out"] == len(FERRY) + len(MILL) - 1
    with operator_of(owner.node) as operator:
        flags = {each["name"]: each["withdrawn"] for each in operator.get("/adapters").json()["adapters"]}
    assert (flags["ferry"]["rows"], flags["ferry-2"]) == (1, None)
    assert time.monotonic() - story.began_s < BUDGET_S
