"""The page in a hard moment: it names the cause, what goes on, and one way out, and the rest of it stays.

The node's answers are its own but for the one thing that each test changes.
"""

from typing import Any

import pytest
from playwright.sync_api import expect
from support.pages import AUDIT, ON_A_NETWORK, PEER, Change, Seen, answer_with_peers, change_answers, show
from support.processes.nodes import Node
from support.reaches import REACHES
from web.parts import OpenPage

from openledger_node.operator.reach_words import reach_to_plain

WHY = "the chain answers as 31337, and network.json says 1612: the endpoint serves another chain"
NO_WALLET = "there is no wallet in /keys: create it with `openledger-node wallet create`"


@pytest.fixture(autouse=True)
def forgive_the_cut_stream(seen: Seen) -> None:
    seen.is_forgiven = True


def chain_is(health: str) -> Change:
    def change(path: str, content: Any) -> None:
        if path == "/status":
            content["chain"], content["money"]["why_down"] = health, WHY

    return change


def paused(path: str, content: Any) -> None:
    if path == "/status":
        content["state"] = "paused"
        content["paused"] = {"since": "2026-11-25T12:00:00Z", "why": "you said so", "until": None, "by": "owner"}
        content["suggestion"] = {"says": "take requests again", "cli": "openledger-node resume"}


def loading(path: str, content: Any) -> None:
    if path == "/status":
        says = "loading the base, 40 %"
        content["state"], content["why_idle"], content["suggestion"] = "starting", says, None
        content["engine"] |= {"state": "starting", "loading": {"phase": "loading", "percent": 40, "says": says}}
        for check in content["checks"]:
            check["ok"], check["says"] = (None, says) if check["check"] == "engine" else (check["ok"], check["says"])


def test_a_node_on_no_network_says_that_no_money_moves_and_chat_needs_none(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    box = page.locator(".state-box")
    expect(box).to_contain_text("No network, and none needed to chat")
    expect(box.locator(".cli")).to_contain_text("network join")
    expect(page.locator(".tile .value").first).to_have_text("–")
    expect(page.locator(".why a.button")).to_have_text(["Chat", "Train an adapter", "Find a network"])
    show(page, "chat")
    note = page.locator(".welcome .note")
    expect(note).to_contain_text("There is no adapter here yet, and nobody offers one, so only the base answers")
    expect(note.locator(".cli code")).to_have_text("openledger-node factory train --sample --name harbour")
    for screen in ("peers", "money", "governance"):
        show(page, screen)
        command = page.locator(".state-box .cli code").first
        expect(command).to_have_text("openledger-node network join network.json")


def test_a_base_that_is_being_loaded_is_progress_and_no_failure(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone, "home")
    change_answers(page, loading)
    expect(page.locator("#bar .state")).to_have_text("Loading 40 %")
    expect(page.locator("#bar .state")).to_have_attribute("data-tone", "busy")
    expect(page.locator(".why .sentence")).to_have_text("Loading the base, 40 %.")
    expect(page.locator(".checks tr", has_text="Engine").locator(".bad")).to_have_count(0)
    show(page, "chat")
    expect(page.locator(".welcome")).to_contain_text("Loading the base, 40 %. You can ask as soon as it is loaded.")


def test_a_chain_that_is_down_or_another_says_why_and_what_goes_on(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)

    def check(health: str, bar: str, words: str) -> None:
        change_answers(page, chain_is(health))
        expect(page.locator("#bar .state")).to_have_text(bar)
        expect(page.locator(".note.bad")).to_contain_text(f"{words}: {WHY}. Answers of this machine go on.")
        expect(page.locator(".note.bad .cli")).to_contain_text("doctor --only chain")
        expect(page.locator('tr[data-key^="row 0x"]').first).to_contain_text("0x")  # the rest of the page is there

    check("down", "Chain down", "The chain does not answer")
    check("halted", "Chain halted", "No money moves until you act")
    assert page.evaluate(AUDIT) == []


def test_a_paused_node_says_how_it_goes_on_and_one_whose_engine_failed_says_why(
    earner: Node, open_page: OpenPage
) -> None:
    page = open_page(earner)
    change_answers(page, failed)
    expect(page.locator("dl.facts", has_text="Engine")).to_contain_text("the driver finds no GPU")
    change_answers(page, paused)
    expect(page.locator("#bar .state")).to_have_text("Paused")
    expect(page.locator("#bar button", has_text="Resume")).to_be_visible()
    expect(page.locator(".note button.primary")).to_have_text("Resume")
    expect(page.locator(".note .cli")).to_contain_text("openledger-node resume")
    assert page.evaluate(AUDIT) == []
    show(page, "chat")
    expect(page.locator(".composer .note")).to_contain_text("The node is paused.")


def failed(path: str, content: Any) -> None:
    if path == "/status":
        content["engine"] |= {"process_id": None, "state": "failed", "why_failed": "the driver finds no GPU"}


def reached(state: str) -> Change:
    """Put the node on a network, where others reach it in this way."""
    reach = reach_to_plain(REACHES[state])

    def change(path: str, content: Any) -> None:
        if path == "/status":
            content |= {**ON_A_NETWORK, "state": "idle", "reach": reach, "suggestion": None}
            content["why_idle"] = "nothing to answer just now"
            if state == "unreachable":
                content["why_idle"] = reach["says"]
                content["suggestion"] = {"says": "see why", "cli": "openledger-node doctor --only network"}

    return change


def test_a_node_that_others_can_hardly_reach_says_so_and_what_helps(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)

    def check(state: str, bar: str, path: str, width: int) -> None:
        reach = reach_to_plain(REACHES[state])
        page.set_viewport_size({"width": width, "height": 900})
        show(page, "home")
        answer_with_peers(page, {**PEER, "path": path})
        change_answers(page, reached(state))
        expect(page.locator("#bar .bar-mid").first).to_contain_text(f"reached {bar}")
        show(page, "peers")
        found = page.locator("section.panel", has_text="How you are found")
        expect(found).to_contain_text(str(reach["says"])[1:])
        expect(found).to_contain_text(str(reach["remedy"]))
        assert page.evaluate(AUDIT) == []

    check("relayed", "over a relay", "relayed", 1280)
    check("unreachable", "by nobody", "direct", 380)


def test_a_node_without_a_wallet_names_the_command_that_makes_one(alone: Node, open_page: OpenPage) -> None:
    def change(path: str, content: Any) -> None:
        if path == "/status":
            content |= {"network": "lake-1", "chain": "down"}
            content["money"]["why_down"] = NO_WALLET

    page = open_page(alone)
    change_answers(page, change)
    for screen in ("home", "money", "governance"):
        show(page, screen)
        note = page.locator(".note.bad")
        expect(note).to_contain_text("No money moves yet: there is no wallet in /keys")
        expect(note.locator(".cli code")).to_have_text("openledger-node wallet create")
