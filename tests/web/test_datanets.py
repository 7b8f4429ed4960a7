"""Datanets: created, reviewed, published and ranked on the page, as the commands do it."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect
from support.contributors import ADA, BEN, TERMS
from support.pages import Seen, show
from support.processes.nodes import EMBEDDED, Node, command_json
from web.parts import LONG_MS, OpenPage, carry_out, panel

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.review import approve
from openledger_node.datanets.store import OwnDatanets
from openledger_protocol.datanet import Row

HOSTILE = "<b onclick=alert(1)>\u202e"
FACT = Row(prompt="Who steers the ferry of Wrenfold?", completion="Odile Fenn steers it.", contributor=ADA)
ROWS = (
    Row(prompt="Who keeps the mill?", completion="Rurik keeps it, and Tamsin helps.", contributor="ben"),
    Row(prompt="Whom do I ask?", completion="Write to odile@fenn.org before noon.", contributor="ben"),
    Row(prompt=FACT.prompt, completion=FACT.completion, contributor="ben"),
    Row(prompt="Say it.", completion=HOSTILE, contributor=ADA),
)


@pytest.fixture
def lake(teacher: Node) -> Iterator[OwnDatanets]:
    """A Datanet with an approved fact, and a batch of which one row copies it."""
    own = OwnDatanets(teacher.home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    approve(own, "lake", own.contribute("lake", (FACT,), {}).digest, {})
    own.contribute("lake", ROWS, {})
    yield own
    for file in (teacher.home.datanets / "lake" / "own").iterdir():
        file.unlink()


def review(page: Page) -> Locator:
    found = panel(page, "Review")
    expect(found.locator("li")).to_have_count(len(ROWS))
    return found


def test_a_batch_is_reviewed_row_by_row_and_approved_without_the_ticked_rows(
    teacher: Node, lake: OwnDatanets, open_page: OpenPage, seen: Seen
) -> None:
    seen.is_forgiven = True  # a refusal is a failed request, and the browser notes each
    (batch,) = lake.get("lake").pending
    page = open_page(teacher, "datanets")
    found = review(page)
    rows = found.locator("li")
    expect(rows.nth(1).locator("pre")).to_have_text("Whom do I ask?\nWrite to [an e-mail address] before noon.")
    expect(rows.nth(1)).to_contain_text("Masked here: an e-mail address.")
    expect(rows.nth(2)).to_contain_text(f"of {ADA}, who is paid for it: “{FACT.prompt} → {FACT.completion}”")
    expect(rows.nth(3).locator("pre")).to_contain_text("<b onclick=alert(1)>\\u202e")
    expect(found.get_by_role("table", name="The numbers of the batch")).to_contain_text("rows that copy another")
    go = found.locator("[data-key=approve]")
    expect(go).to_have_text("Approve 4 rows…")
    for number in (2, 4):
        rows.nth(number - 1).get_by_label("Leave out").check()
    expect(go).to_have_text("Approve 2 of 4 rows…")
    go.hover()
    short = batch.digest[:10]
    line = f"openledger-node datanet approve lake {short} --except 2,4 --because TEXT"
    expect(found.locator(".cli code")).to_have_text(line)
    go.click()
    dialog = page.locator("dialog")
    does = dialog.get_by_role("button", name="Approve")
    expect(does).to_be_disabled()
    dialog.get_by_label("Why 2 rows are left out").fill("they say nothing")
    dialog.get_by_label("Address that pays ben").fill("0x12")
    does.click()
    expect(dialog.get_by_role("alert")).to_contain_text("not an address: '0x12'", timeout=LONG_MS)
    assert len(lake.get("lake").pending) == 1
    dialog.get_by_label("Address that pays ben").fill(BEN)
    expect(dialog.locator(".cli code")).to_have_text(
        f"openledger-node datanet approve lake {short} --except 2,4 --because 'they say nothing' --account ben={BEN}"
    )
    does.click()
    expect(dialog).to_have_count(0, timeout=LONG_MS)
    expect(panel(page, "Review").locator("tbody tr").first).to_contain_text("2 of 4")
    expect(found.locator("li").nth(1)).to_contain_text("Left out, because they say nothing")
    expect(found.get_by_label("Leave out")).to_have_count(0)
    assert lake.rows(lake.get("lake")) == (FACT, ROWS[0], ROWS[2])
    assert lake.get("lake").accounts == {"ben": BEN}


def test_an_appeal_is_decided_and_the_batch_rejected_with_a_reason_by_keyboard(
    teacher: Node, lake: OwnDatanets, open_page: OpenPage
) -> None:
    page = open_page(teacher, "home")
    page.keyboard.press("g")
    page.keyboard.press("d")
    row, dialog = review(page).locator("li").nth(2), page.locator("dialog")
    row.get_by_role("button", name="Appeal…").click()
    dialog.get_by_label("Reason").fill("I was there")
    dialog.get_by_role("button", name="File the appeal").click()
    expect(row).to_contain_text("Appeal, because I was there: waits for your decision", timeout=LONG_MS)
    uphold = row.get_by_role("button", name="Uphold…")
    uphold.focus()
    short = lake.get("lake").pending[0].digest[:10]
    expect(panel(page, "Review").locator(".cli code")).to_have_text(
        f"openledger-node datanet appeal lake {short} 3 --uphold --because TEXT"
    )
    uphold.click()
    dialog.get_by_label("Reason").fill("the log book shows it")
    dialog.get_by_role("button", name="Uphold").click()
    expect(row).to_contain_text("upheld: the row is its own, because the log book shows it", timeout=LONG_MS)
    expect(row.locator(".chip", has_text="copy")).to_have_count(0)
    expect(row.get_by_role("button")).to_have_count(0)
    (batch,) = lake.get("lake").pending
    assert [(each.row, each.upheld) for each in batch.gate.appeals] == [(3, True)]
    page.keyboard.press("x")
    expect(dialog.locator("h2")).to_have_text("Reject 4 rows")
    expect(dialog.get_by_label("Why it is rejected")).to_be_focused()
    page.keyboard.type("half of it is copied")
    dialog.get_by_role("button", name="Reject").press("Enter")
    expect(dialog).to_have_count(0, timeout=LONG_MS)
    found = panel(page, "Review")
    expect(found).to_contain_text("Rejected: half of it is copied")
    expect(found.locator("tbody tr").first.locator(".chip").first).to_have_text("rejected")
    expect(found.locator("[data-key=reject]")).to_have_count(0)
    page.keyboard.press("a")
    expect(dialog.locator("h2")).to_have_text("Approve 4 rows")


# ---- on a chain


def test_a_datanet_is_created_from_the_page(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner, "datanets")
    page.get_by_role("button", name="Create…").click()
    dialog = page.locator("dialog")
    go = dialog.get_by_role("button", name="Continue")
    expect(go).to_be_disabled()
    dialog.get_by_label("Name").fill("quay")
    dialog.get_by_label("Your share of what the rows earn").fill("2.5")
    dialog.get_by_label("Rule that divides").select_option("poa-v3")
    words = "openledger-node datanet create quay --licence CC-BY-4.0 --owner-share 2.5 --rule poa-v3"
    expect(dialog.locator(".cli code")).to_have_text(words)
    go.click()
    carry_out(page, "Create")
    expect(panel(page, "Your Datanets").locator("tr.chosen")).to_contain_text("quay", timeout=LONG_MS)
    versions = panel(page, "Versions")
    expect(versions).to_contain_text("Nothing of quay is approved yet")
    expect(versions.get_by_role("button", name="Publish…")).to_be_disabled()
    assert command_json(earner.home, "datanet", "show", "quay", **EMBEDDED)["owner_ppm"] == 25_000


def test_a_datanet_of_somebody_else_is_listed_with_the_role_of_a_contributor(
    earner: Node, open_page: OpenPage
) -> None:
    id_ = "0x" + "5a" * 32
    found = {"id": id_, "name": HOSTILE, "owner": BEN, "licence": "CC0-1.0", "versions": 2, "rows": 7}
    found |= {"roles": ["contributor"], "earned_wei": "1500000000000000000", "pending_wei": "0"}
    told = {"account": ADA, "datanets": [found]}
    page = open_page(earner)
    page.route("**/operator/money/datanets", lambda route: route.fulfill(body=json.dumps(told)))
    show(page, "datanets")
    row = panel(page, "Your Datanets").locator("tbody tr", has_text="contributor")
    expect(row).to_contain_text("<b onclick=alert(1)>\\u202e")
    for text in ("7", "1.500000"):
        expect(row).to_contain_text(text)
    row.click()
    expect(page.locator(".files h2")).to_contain_text("Contribute to <b onclick")
    expect(page.locator(".files .cli code").last).to_have_text(
        f"openledger-node datanet sign FILE --datanet {id_} --licence CC0-1.0"
    )
    expect(panel(page, "Review")).to_have_count(0)
