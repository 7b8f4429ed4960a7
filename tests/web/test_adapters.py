"""Adapters: what the page shows is what the verbs print, and what is done on it is done in the node."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from support.processes.nodes import Node, command_json
from web.parts import OpenPage

SETTINGS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_FACTORY_TRAINER": "fake"}


@pytest.fixture(scope="module")
def keeper(trainer: Node) -> Iterator[Node]:
    """A node with two adapters that were trained here, one of which was asked, and a folder that is none."""
    torn = trainer.home.adapters / "torn"
    torn.mkdir()
    (torn / "adapter.json").write_text("{}")
    yield trainer
    shutil.rmtree(torn)


def verb(node: Node, *words: str) -> dict[str, Any]:
    return command_json(node.home, *words, **SETTINGS)


def row(page: Page, name: str) -> Locator:
    return page.locator("tbody tr").filter(has=page.locator("th", has_text=name))


def full_name(node: Node, name: str) -> str:
    return next(each["full_name"] for each in verb(node, "adapters", "list")["adapters"] if each["name"] == name)


def test_the_table_and_the_tiles_are_what_the_command_prints_and_a_pin_is_one_of_the_node(
    keeper: Node, open_page: OpenPage
) -> None:
    listed = verb(keeper, "adapters", "list")
    page = open_page(keeper, "adapters")
    expect(page.locator("tbody tr")).to_have_count(len(listed["adapters"]) + len(listed["refused"]))
    lake = next(each for each in listed["adapters"] if each["name"] == "lake")
    assert lake["usage"]["calls"] == sum(lake["usage"]["by_hour"]) == 1
    cells = row(page, "lake").locator("td")
    expect(cells.nth(0)).to_have_text("memory")
    expect(cells.nth(2)).to_have_text(str(lake["rank_max"]))
    expect(cells.nth(3)).to_have_text(str(lake["usage"]["calls"]))
    expect(row(page, "harbour").locator("td").first).to_have_text("disk")
    tiles = page.locator(".tile")
    expect(tiles.nth(0).locator(".value")).to_contain_text(str(len(listed["memory"]["resident"])))
    expect(tiles.nth(1).locator(".value")).to_contain_text(str(len(listed["adapters"])))
    expect(tiles.nth(4).locator(".value")).to_have_text("0.0 %")
    row(page, "torn").get_by_role("button", name="Why").click()
    expect(page.locator(".note.bad")).to_contain_text(listed["refused"]["torn"])
    expect(page.locator(".note.bad")).to_contain_text("Nothing of it was loaded")

    name = full_name(keeper, "harbour")
    button = row(page, "harbour").get_by_role("button")
    button.focus()
    expect(page.locator(".panel", has_text="Held here").locator(".cli code")).to_have_text(
        f"openledger-node adapters pin {name}"
    )
    button.click()
    expect(row(page, "harbour")).to_contain_text("pinned")
    assert [
        each["is_pinned"] for each in verb(keeper, "adapters", "list")["adapters"] if each["full_name"] == name
    ] == [True]
    verb(keeper, "adapters", "unpin", name)
    expect(row(page, "harbour").get_by_role("button")).to_have_text("Pin")


def test_a_folder_is_added_from_the_page_and_removed_again(keeper: Node, open_page: OpenPage, tmp_path: Path) -> None:
    source = keeper.home.adapters / full_name(keeper, "lake")
    copy = tmp_path / "pond"
    copy.mkdir()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (copy / file).write_bytes((source / file).read_bytes())
    page = open_page(keeper, "adapters")
    page.get_by_label("Name or id that peers offer").fill(str(copy))
    bring = page.locator(".panel", has_text="Add or pull")
    expect(bring.locator(".cli code")).to_have_text(f"openledger-node adapters add {copy}")
    bring.get_by_role("button", name="Add from disk").click()
    expect(bring).to_contain_text("was added")
    name = full_name(keeper, "pond")
    page.get_by_role("button", name="Remove from disk").click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".cli code")).to_have_text(f"openledger-node adapters remove {name}")
    expect(dialog).to_contain_text("It is not published: only a new training or another copy brings it back")
    dialog.get_by_role("button", name="Remove pond").click()
    expect(row(page, "pond")).to_have_count(0)
    assert "pond" not in [each["name"] for each in verb(keeper, "adapters", "list")["adapters"]]
