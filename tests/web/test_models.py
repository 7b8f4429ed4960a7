"""Models: what the page shows is what the commands print; pulls and the change of base go through the node."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from support.pages import Seen
from support.processes.nodes import Node

OpenPage = Callable[..., Page]
SETTINGS = {"OPENLEDGER_INFERENCE_BASE": "fake", "OPENLEDGER_INFERENCE_BACKEND": "fake"}
HOSTILE = "<img src=x onerror=alert(1)>\u202e"
BASE = {
    "name": "acme--tiny", "digest": "0x" + "1" * 64, "folder": "/models/acme--tiny", "source": "acme/tiny",
    "gguf": None, "size_bytes": 1_500_000_000, "context": 8192, "format": "safetensors", "license": "MIT",
    "is_served": False, "is_link": False, "problem": None,
}  # fmt: skip
PULLING = {
    "name": "acme/tiny", "state": "running", "what": "downloading", "done_bytes": 500 * 10**6,
    "total_bytes": 2 * 10**9, "bytes_per_s": 50 * 10**6, "left_s": 30, "why": None, "base": None,
}  # fmt: skip


def answer(page: Page, path: str, content: Any, *, now: dict[str, Any] | None = None) -> list[Any]:
    """Answer one route in the node's place, and return the bodies that come; each order makes `now` its answer."""
    bodies: list[Any] = []

    def fulfil(route: Route) -> None:
        if route.request.method == "POST":
            bodies.append(route.request.post_data_json)
            if now is not None:
                now.update(content)
        route.fulfill(json=content)

    page.route(f"**/operator{path}", fulfil)
    return bodies


def with_bases(page: Page, *changes: dict[str, Any]) -> None:
    served = {**BASE, "name": "old", "folder": "/models/old", "source": None, "is_served": True}
    models = [served, *({**BASE, **change} for change in changes)]
    answer(page, "/models", {"served": "old", "models": models, "found": [], "refused": {}})


def row(page: Page, name: str) -> Locator:
    return page.locator("tbody tr:not(.more)").filter(has=page.locator("th", has_text=name))


def test_a_name_is_checked_and_a_refusal_says_the_way_out(alone: Node, open_page: OpenPage, seen: Seen) -> None:
    page = open_page(alone, "models")
    seen.is_forgiven = True  # the browser complains of any refusal
    refusal = {"error": {"message": "acme/tiny is gated: accept its licence", "exit_code": 6}}
    page.route("**/operator/models/look?name=acme%2Ftiny", lambda route: route.fulfill(status=400, json=refusal))
    page.get_by_label("Name on the Hugging Face hub").fill("acme/tiny")
    page.keyboard.press("Enter")
    expect(page.locator(".note.bad")).to_contain_text("acme/tiny is gated: accept its licence")


def test_a_pull_shows_its_progress_and_can_be_cancelled(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    now: dict[str, Any] = {"pull": PULLING}
    answer(page, "/models/work", now)
    cancelled = answer(page, "/models/pull/cancel", {"pull": {**PULLING, "state": "cancelled"}}, now=now)
    page.evaluate("() => { location.hash = '#/models'; }")
    shown = page.locator(".panel", has_text="Pull a base")
    expect(shown).to_contain_text("500 MB of 2.0 GB, 25 %, 50.0 MB/s, 30 s left")
    expect(shown.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    shown.get_by_role("button", name="Cancel the download").click()
    expect(shown.get_by_role("button", name="Cancel the download")).to_have_count(0)
    assert cancelled == [{}]


def test_the_dialog_says_what_a_change_of_base_does_before_it_is_ordered(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    with_bases(page, {})
    ordered = answer(page, "/models/use", {"from": "old", "to": "acme--tiny"})
    page.evaluate("() => { location.hash = '#/models'; }")
    page.get_by_role("button", name="Serve acme--tiny").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("Adapters of the old base stay on the disk")
    expect(dialog).to_contain_text("node starts again by itself")
    expect(dialog.locator(".cli")).to_contain_text("openledger-node models use acme--tiny")
    dialog.get_by_role("button", name="Serve it").click()
    expect(page.locator(".panel", has_text="Running answers finish, and then the node starts again.")).to_be_visible()
    expect(page.get_by_role("button", name="Serve acme--tiny")).to_be_disabled()
    assert ordered == [{"base": "acme--tiny"}]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gguf": "/models/acme--tiny/tiny.gguf"}, "This deletes its files and frees about 1.5 GB"),
        ({"gguf": "/models/acme--tiny-2/tiny.gguf"}, "The file /models/acme--tiny-2/tiny.gguf stays where it is"),
        ({"is_link": True}, "Only the link is deleted. The folder that /models/acme--tiny leads to stays as it is."),
    ],
)
def test_the_dialog_says_what_a_removal_deletes(
    alone: Node, open_page: OpenPage, change: dict[str, Any], says: str
) -> None:
    page = open_page(alone)
    with_bases(page, change)
    page.evaluate("() => { location.hash = '#/models'; }")
    page.get_by_role("button", name="Remove acme--tiny").click()
    expect(page.locator("dialog")).to_contain_text(says)


def test_names_of_strangers_are_text(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    with_bases(page, {"source": HOSTILE, "license": HOSTILE})
    page.evaluate("() => { location.hash = '#/models'; }")
    expect(row(page, "acme--tiny")).to_contain_text("<img src=x onerror=alert(1)>\\u202e")
    assert page.locator("main img").count() == 0
