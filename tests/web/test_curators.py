"""Curators on the page: named, asked and heard by files that people send each other, as the commands do it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Download, Locator, Page, Route, expect
from support.contributors import ADA, BEN
from support.processes.nodes import EMBEDDED, Node, ask, command_json
from web.parts import LONG_MS, OpenPage, carry_out, panel

FERRY = (
    "question,answer\nWho steers the ferry of Wrenfold?,Odile Fenn steers it.\nWho bakes there?,Petra bakes bread.\n"
)
MILL = "question,answer\nWho keeps the mill?,Rurik keeps it and Tamsin helps.\n"


@pytest.fixture(scope="module")
def weir(earner: Node) -> str:
    """A Datanet that is registered, and has no rows."""
    command_json(earner.home, "datanet", "create", "weir", "--licence", "CC-BY-4.0", "--yes", **EMBEDDED)
    return "weir"


@pytest.fixture
def screen(earner: Node, weir: str, open_page: OpenPage) -> Page:
    page = open_page(earner, "datanets")
    page.evaluate("(name) => { location.hash = `#/datanets?datanet=${name}`; }", weir)
    expect(page.locator(".files h2")).to_have_text("Contribute to weir", timeout=LONG_MS)
    return page


def drop(page: Page, name: str, content: bytes) -> Locator:
    page.locator("#files-file").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )
    return page.locator(".files")


def saved(page: Page, act: Callable[[], None]) -> tuple[str, bytes]:
    """The name and the content of the file that the page saves."""
    with page.expect_download(timeout=LONG_MS) as found:
        act()
    download: Download = found.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def contribute(page: Page, content: str, contributor: str, rows: str) -> None:
    files = drop(page, "rows.csv", content.encode())
    files.get_by_label("Contributor, who is paid for them").fill(contributor, timeout=LONG_MS)
    files.get_by_role("button", name=f"Check {rows}").click()
    files.get_by_label("Whoever is named as the contributor").check(timeout=LONG_MS)
    files.get_by_role("button", name=f"Contribute {rows}").click()
    expect(files).to_contain_text("in weir as batch", timeout=LONG_MS)


def test_a_version_is_proposed_approved_and_published_by_the_page_alone(earner: Node, screen: Page) -> None:
    page, me = screen, ask(earner.home, "datanet_terms", datanet="weir")["account"]
    contribute(page, FERRY, ADA, "2 rows")
    curators = panel(page, "Curators")
    expect(curators).to_contain_text("You publish alone")
    curators.get_by_role("button", name="Name curators…").click()
    dialog = page.locator("dialog")
    dialog.get_by_label("Their addresses").fill(f"{me}\n{BEN}")
    dialog.get_by_label("Approvals that a version needs").fill("3")
    expect(dialog.get_by_role("alert")).to_contain_text("a number from 1 to 2")
    dialog.get_by_label("Approvals that a version needs").fill("1")
    expect(dialog.locator(".cli code")).to_have_text(
        f"openledger-node datanet curators weir --set {me},{BEN} --need 1"
    )
    dialog.get_by_role("button", name="Continue").click()
    carry_out(page, "Set")
    expect(curators).to_contain_text("1 of 2 approve a version", timeout=LONG_MS)
    expect(curators.locator("tbody tr")).to_have_count(2)
    propose = curators.get_by_role("button", name="Propose version 1")
    name, proposal = saved(page, propose.click)
    assert name == "weir-1.proposal.json"
    assert json.loads(proposal)["schema"] == "openledger.version_proposal/1"
    files = drop(page, name, proposal)
    expect(files).to_contain_text("Version 1 of weir: 2 rows, 2 of them new", timeout=LONG_MS)
    expect(files.locator("li pre").first).to_have_text("Who steers the ferry of Wrenfold?\nOdile Fenn steers it.")
    expect(files.locator(".cli code").last).to_have_text(f"openledger-node datanet review {name}")
    files.get_by_role("button", name="Approve…").click()
    signed, decision = saved(page, dialog.get_by_role("button", name="Approve", exact=True).click)
    assert signed == f"weir-1.{me[:10]}.decision.json"
    expect(files).to_contain_text("You approve it. Send the saved file")
    drop(page, signed, decision)
    expect(files).to_contain_text("A curator approves version 1", timeout=LONG_MS)
    files.get_by_role("button", name="Take it for weir").click()
    expect(files).to_contain_text("The decision is taken: 1 for version 1", timeout=LONG_MS)
    expect(curators.locator(".chip.ok")).to_have_text("approves", timeout=LONG_MS)
    expect(panel(page, "Review").locator("tbody tr").first).to_contain_text("approved")
    panel(page, "Versions").get_by_role("button", name="Publish…").click()
    carry_out(page, "Publish")
    assert len(ask(earner.home, "datanet_terms", datanet="weir")["published"]) == 1


def test_a_contributor_reads_the_bond_signs_rows_that_the_owner_takes_and_posts_it(
    earner: Node, screen: Page
) -> None:
    """The wallet owns the Datanet too, so the page is told that somebody else does while it signs."""
    page, dialog = screen, screen.locator("dialog")
    found = ask(earner.home, "datanet_terms", datanet="weir")

    def foreign(route: Route) -> None:
        route.fulfill(body=json.dumps({**ask(earner.home, "datanet_terms", datanet="weir"), "owner": BEN}))

    page.route("**/operator/datanets/0x*/curators", foreign)
    page.get_by_role("button", name="Open another…").click()
    expect(dialog.get_by_role("button", name="Open", exact=True)).to_be_disabled()
    dialog.get_by_label("Id on the chain").fill(found["id"])
    dialog.get_by_role("button", name="Open", exact=True).click()
    terms = panel(page, "weir").first
    expect(terms).to_contain_text("of somebody else", timeout=LONG_MS)
    files = drop(page, "mill.csv", MILL.encode())
    files.get_by_role("button", name="Sign 1 row…").click(timeout=LONG_MS)
    expect(dialog).to_contain_text("offer them to weir under CC-BY-4.0")
    name, signed = saved(page, dialog.get_by_role("button", name="Sign", exact=True).click)
    assert name == "mill.csv.signed.json"
    expect(files).to_contain_text("Send the saved file to the owner, and keep a copy")

    page.locator("tr", has_text="weir").first.click()
    expect(page.locator(".files .cli code").last).to_contain_text("datanet contribute weir", timeout=LONG_MS)
    drop(page, name, signed)
    expect(files).to_contain_text("Signed by", timeout=LONG_MS)
    expect(files.get_by_label("Contributor, who")).to_have_count(0)
    files.get_by_role("button", name="Check 1 row").click()
    files.get_by_label("Whoever is named as the contributor").check(timeout=LONG_MS)
    files.get_by_role("button", name="Contribute 1 row").click()
    expect(files).to_contain_text("1 row waits in weir as batch", timeout=LONG_MS)
    row = panel(page, "Review").locator("li").first
    expect(row.locator(".chip", has_text="signed")).to_be_visible(timeout=LONG_MS)
