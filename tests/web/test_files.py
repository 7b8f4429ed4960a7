"""Rows that are dropped or pasted on the Datanets screen: shown, read again, checked, and contributed."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect
from support.contributors import ADA, TERMS
from support.processes.nodes import Node
from web.parts import OpenPage

from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.store import OwnDatanets
from openledger_protocol.datanet import Row

LONG_MS = 60_000
"""A file is read in a process of its own, which imports the readers."""

TABLE = """question,answer,page
Who steers the ferry?,<b>Odile</b> Fenn steers it.,1
What does it cost?,=1+2,2
Whom do I ask?,Write to odile@fenn.org,3
"""
DROP = """(body) => {
    const carried = new DataTransfer(), given = { dataTransfer: carried, bubbles: true, cancelable: true };
    carried.items.add(new File([body], "lake.csv", { type: "text/csv" }));
    document.querySelector(".drop").dispatchEvent(new DragEvent("drop", given));
}"""


@pytest.fixture
def lake(teacher: Node) -> Iterator[OwnDatanets]:
    own = OwnDatanets(teacher.home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))  # type: ignore[arg-type]  # a licence and a share
    yield own
    for file in (teacher.home.datanets / "lake" / "own").iterdir():
        file.unlink()


def contribute(panel: Locator, num_rows: str) -> None:
    panel.get_by_label("Whoever is named as the contributor wrote these rows").check(timeout=LONG_MS)
    panel.get_by_role("button", name=f"Contribute {num_rows}").click()


def test_a_dropped_file_is_shown_checked_and_taken_only_by_its_button(
    teacher: Node, lake: OwnDatanets, open_page: OpenPage
) -> None:
    page = open_page(teacher, "datanets")
    panel = page.locator(".files")
    expect(panel.locator("h2")).to_have_text("Contribute to lake")
    page.evaluate(DROP, TABLE)
    expect(panel).to_contain_text("1 row can be taken", timeout=LONG_MS)
    expect(panel.locator("pre.row-text")).to_have_text("Who steers the ferry?\n<b>Odile</b> Fenn steers it.")
    expect(panel).to_contain_text("page")
    expect(panel.locator("tbody tr")).to_have_count(2)
    expect(panel.locator("tbody")).to_contain_text("its 'answer' is a formula")
    panel.get_by_label("Take rows with personal data or secrets, too").check()
    panel.get_by_role("button", name="Read again").click()
    check = panel.get_by_role("button", name="Check 2 rows")
    expect(check).to_be_disabled(timeout=LONG_MS)
    panel.get_by_label("Contributor, who is paid for them").fill("odile")
    expect(panel.locator(".cli code").last).to_have_text(
        "openledger-node datanet contribute lake lake.csv --keep --contributor odile"
    )
    check.click()
    numbers = panel.get_by_role("table", name="The numbers of the batch")
    expect(numbers.locator("tr", has_text="Personal data").first).to_contain_text("look", timeout=LONG_MS)
    expect(numbers.locator("tr", has_text="Base loss").first).to_contain_text("not measured")
    expect(panel).to_contain_text("2 have a contributor without an address")
    expect(panel.get_by_role("button", name="Contribute 2 rows")).to_be_disabled()
    assert lake.get("lake").batches == ()
    contribute(panel, "2 rows")
    expect(panel).to_contain_text("2 rows wait in lake as batch", timeout=LONG_MS)
    (batch,) = lake.get("lake").pending
    expect(panel.locator(".cli code").last).to_contain_text(f"datanet approve lake {batch.digest[:10]}")
    assert lake.batch_rows("lake", batch.digest) == (
        Row(prompt="Who steers the ferry?", completion="<b>Odile</b> Fenn steers it.", contributor="odile"),
        Row(prompt="Whom do I ask?", completion="Write to odile@fenn.org", contributor="odile"),
    )
