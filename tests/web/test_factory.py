"""Factory: from rows to an adapter on the page, with what the verbs print and the lines that do the same."""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from support.pages import Seen
from support.processes.nodes import EMBEDDED, Node, command_json, operator_of
from web.parts import OpenPage, panel

from openledger_node.datanets.rows import write_rows
from openledger_node.datanets.sample import draw_sample

SETTINGS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_FACTORY_TRAINER": "fake"}
LONG_MS = 30_000


def verb(node: Node, *words: str) -> dict[str, Any]:
    return command_json(node.home, *words, **SETTINGS)


def adapters(node: Node) -> set[str]:
    return {each["full_name"] for each in verb(node, "adapters", "list")["adapters"]}


def drawn(page: Page) -> list[str]:
    """The paths of the loss chart's lines."""
    return [str(path.get_attribute("d")) for path in page.locator(".loss path.series").all()]


def test_a_training_is_begun_on_the_page_and_ends_with_a_drawn_curve(teacher: Node, open_page: OpenPage) -> None:
    page = open_page(teacher, "factory")
    start = page.get_by_role("button", name="Start training")
    expect(start).to_be_disabled()
    page.get_by_label("Name", exact=True).fill("pond")
    page.get_by_label("Preset").select_option("quick")
    line = panel(page, "1 Choose").locator(".cli code")
    expect(line).to_have_text("openledger-node factory train --sample --name pond --preset quick")
    panel(page, "1 Choose").locator("summary").click()
    page.get_by_label("Rows to evaluate on").fill("4")
    expect(line).to_have_text("openledger-node factory train --sample --name pond --preset quick --evaluate 4")
    start.click()
    expect(panel(page, "2 Train")).to_contain_text("pond")
    expect(panel(page, "2 Train").locator(".chip").first).to_have_text("done", timeout=LONG_MS)
    found = verb(teacher, "factory", "status")["run"]
    assert (found["state"], found["job"]["epochs"], len(found["history"])) == ("done", 2, 25)
    assert found["evaluation"]["rows"] == 4
    trained, held_out = drawn(page)
    assert trained.count("L") == 23, "24 steps have a loss, step 0 has none"
    assert held_out.count("L") == 10
    for label, text in (("Step", "24 of 24"), ("Held out", f"{found['held_out_loss']:.3f}")):
        expect(page.locator(".figures > div", has_text=label)).to_contain_text(text)
    measured = found["evaluation"]
    cells = panel(page, "3 Evaluate").locator("tbody tr").nth(1).locator("td")
    expect(cells.nth(0)).to_have_text(f"{measured['rouge_l']['base']:.3f}")
    expect(cells.nth(1)).to_have_text(f"{measured['rouge_l']['adapter']:.3f}")
    page.locator("summary", has_text="Side by side: 4 of the answers").click()
    sample = measured["samples"][0]
    for label, name in (("Held-out row", "reference"), ("Base", "base"), ("Adapter", "adapter")):
        row = panel(page, "3 Evaluate").locator("details > div").first.locator("dl, .facts").first
        expect(row).to_contain_text(label)
        expect(row).to_contain_text(sample[name])
    page.reload()
    expect(page.locator(".loss path.series")).to_have_count(2)
    assert drawn(page) == [trained, held_out], "the curve is there again after a reload"


def test_every_setting_is_on_the_page_and_a_bad_one_is_refused_while_it_is_typed(
    teacher: Node, open_page: OpenPage, seen: Seen
) -> None:
    seen.is_forgiven = True  # a refusal is a failed request, and the browser notes each
    page = open_page(teacher, "factory")
    choose = panel(page, "1 Choose")
    choose.locator("summary").click()
    page.get_by_label("Name", exact=True).fill("lake")
    page.get_by_label("Method").select_option("dora")
    page.get_by_label("Linear maps to adapt").select_option("attention")
    page.get_by_label("Schedule of the learning rate").select_option("linear")
    page.get_by_label("Base weights in the training").select_option("none")
    page.get_by_label("Compute layers twice").check()
    for label, value in (("Dropout", "0.1"), ("Warm-up", "10"), ("Weight decay", "0.01"), ("Alpha", "4")):
        page.get_by_label(label).fill(value)
    expect(choose.locator(".cli code")).to_have_text(
        "openledger-node factory train --sample --name lake --method dora --sites attention --schedule linear "
        "--quantize none --gradient-checkpointing --dropout 0.1 --warm-up-percent 10 --weight-decay 0.01 --alpha 4"
    )
    expect(choose.locator("summary")).to_contain_text("DoRA, rank 8, α 4")
    expect(page.get_by_label("Held out, %")).to_be_disabled()
    page.get_by_label("Dropout").fill("2")
    expect(panel(page, "Rows as the model")).to_contain_text("dropout is 2.0: give a number from 0 to 0.9")
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.get_by_label("Method").select_option("rslora")
    page.get_by_label("Alpha").fill("")
    expect(choose.locator("summary")).to_contain_text("rsLoRA, rank 8, α 8")
    signals = page.get_by_label("Build the index of signals")
    signals.check()
    expect(choose.locator(".cli code")).to_contain_text(" --signals")
    signals.uncheck()
    expect(choose.locator(".cli code")).not_to_contain_text("--signals")


def test_a_training_is_paused_resumed_discarded_only_after_a_question_and_kept(
    teacher: Node, open_page: OpenPage
) -> None:
    before = adapters(teacher)
    with operator_of(teacher.home) as operator:  # it ends when it is told to
        order = {"name": "long", "sample": True, "epochs": 5_000_000}
        operator.post("/factory/train", json=order).raise_for_status()
    page = open_page(teacher, "factory")
    train, dialog = panel(page, "2 Train"), page.locator("dialog")
    state = train.locator(".chip").first
    expect(page.locator("#bar .state")).to_contain_text("Training")
    expect(page.locator('#nav a[href="#/factory"] .count')).to_contain_text("%")
    expect(page.get_by_text("one runs at a time")).to_be_visible()
    buttons = train.locator("[data-key='pause training'], [data-key=keep], [data-key='stop training']")
    expect(buttons).to_have_text(["Pause", re.compile("Stop and keep step"), "Stop…"])
    buttons.nth(0).click()
    expect(state).to_have_text("paused")
    expect(buttons).to_have_text(["Resume", re.compile("Stop and keep step"), "Stop…"])
    step = verb(teacher, "factory", "status")["run"]["step"]
    buttons.nth(2).click()
    expect(dialog.locator("h2")).to_have_text(f"Stop and discard {step:,} steps")
    expect(dialog.locator(".buttons button")).to_have_text(["Cancel", "Stop and keep", "Stop and discard"])
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    assert verb(teacher, "factory", "status")["run"]["state"] == "paused"
    buttons.nth(0).click()
    expect(state).to_have_text("training")
    train.get_by_role("button", name="Stop and keep step").click()
    expect(state).to_have_text("done", timeout=LONG_MS)
    ended = verb(teacher, "factory", "status")["run"]
    assert step <= ended["step"] < ended["steps"]
    assert adapters(teacher) - before == {ended["adapter"]}


def test_what_was_taught_by_a_published_datanet_is_published_through_the_cost_dialog(
    earner: Node, tmp_path: Path, open_page: OpenPage
) -> None:
    def run(*words: str) -> dict[str, Any]:
        return command_json(earner.home, *words, **SETTINGS, **EMBEDDED)

    rows = tmp_path / "rows.jsonl"
    write_rows(rows, draw_sample(1).rows)
    people = sorted({row.contributor for row in draw_sample(1).rows})
    accounts = [word for n, who in enumerate(people) for word in ("--account", f"{who}={'0x' + f'{n + 1:040x}'}")]
    run("datanet", "create", "lake", "--licence", "CC0-1.0", "--owner-share", "10")
    run("datanet", "approve", "lake", run("datanet", "contribute", "lake", str(rows), *accounts, "--yes")["digest"])
    run("datanet", "publish", "lake")
    page = open_page(earner, "factory")
    expect(page.get_by_label("Datanet")).to_have_value("lake@1")
    page.get_by_label("Name", exact=True).fill("harbour")
    expect(panel(page, "1 Choose").locator(".cli code")).to_contain_text("--datanet lake@1 --name harbour")
    page.get_by_role("button", name="Start training").click()
    expect(panel(page, "2 Train").locator(".chip").first).to_have_text("done", timeout=LONG_MS)
    royalty = page.get_by_label("Your royalty")
    for typed in ("101", "ten"):
        royalty.fill(typed)
        expect(page.get_by_role("button", name="Publish…")).to_be_disabled()
    royalty.fill("15")
    page.get_by_role("button", name="Publish…").click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".cli code")).to_have_text(
        "openledger-node factory publish 1 --royalty 15", timeout=LONG_MS
    )
    expect(dialog).to_contain_text("your royalty of 15 %")
    expect(dialog).to_contain_text("Gas, at most")
    dialog.get_by_role("button", name="Publish").click()
    expect(dialog.locator(".chip.ok")).to_be_visible(timeout=LONG_MS)
    again = run("factory", "publish", "1")
    assert again["transactions"] == [], "it is registered already"
    page.keyboard.press("Escape")
    expect(panel(page, "4 Publish")).to_contain_text("It is published as harbour@", timeout=LONG_MS)
    expect(panel(page, "4 Publish").get_by_role("button", name="Publish")).to_have_count(0)
    expect(panel(page, "4 Publish").get_by_role("link")).to_have_text("See it under Adapters")
