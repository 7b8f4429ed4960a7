"""What the page shows in place of what is not there: what is the case, what still works, and one way out.

The node's answers are its own but for the one thing that each test makes so; the rest of the page must not empty.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from support.pages import Seen, show
from support.processes.nodes import Node
from support.reaches import REACHES

from openledger_node.operator.reach_words import reach_to_plain

OpenPage = Callable[..., Page]
Change = Callable[[str, Any], None]
AUDIT = (Path(__file__).parent / "audit.js").read_text()
WHY = "the chain answers as 31337, and network.json says 1612: the endpoint serves another chain"


def open_changed(page: Page, change: Change) -> None:
    """Show the node as it would be if its answers were changed so; without its stream, so that it is asked."""

    def answer(route: Route) -> None:
        path = route.request.url.split("/operator")[1]
        if path == "/events":
            route.fulfill(status=204)
            return
        response = route.fetch()
        content = response.json()
        change(path.split("?")[0], content)
        route.fulfill(response=response, body=json.dumps(content))

    page.context.route("**/operator/**", answer)
    page.reload()
    page.locator("#bar .state[data-tone]").wait_for()


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


def nobody_connected(path: str, content: Any) -> None:
    if path == "/status":
        content["peers"] = 0
    if path == "/money/peers":
        for peer in content["peers"]:
            peer["is_connected"] = False


def test_a_node_on_no_network_says_that_no_money_moves_and_chat_needs_none(
    untouched: Node, open_page: OpenPage
) -> None:
    page = open_page(untouched)
    box = page.locator(".state-box")
    expect(box).to_contain_text("No network, and none needed to chat")
    expect(box.locator(".cli")).to_contain_text("network join")
    expect(page.locator(".tile .value").first).to_have_text("–")
    expect(page.locator("main")).to_contain_text("No request has been answered yet")
    expect(page.locator(".why")).to_contain_text("There is no public network yet")
    expect(page.locator(".why a.button")).to_have_text(["Chat", "Train an adapter", "Find a network"])
    expect(page.locator(".checks")).to_have_count(0)
    show(page, "peers")
    expect(page.locator(".state-box")).to_contain_text("This node is on no network")


def test_a_base_that_is_being_loaded_is_progress_and_no_failure(untouched: Node, open_page: OpenPage) -> None:
    page = open_page(untouched, "home")
    open_changed(page, loading)
    expect(page.locator("#bar .state")).to_have_text("Loading 40 %")
    expect(page.locator("#bar .state")).to_have_attribute("data-tone", "busy")
    expect(page.locator(".why .sentence")).to_have_text("Loading the base, 40 %.")
    expect(page.locator(".checks tr", has_text="Engine").locator(".bad")).to_have_count(0)


def test_idle_and_well_is_calm_and_amber_only_where_something_wants_a_look(
    earner: Node, open_page: OpenPage, seen: Seen
) -> None:
    failing: list[str] = []

    def change(path: str, content: Any) -> None:
        if path == "/status":
            content["state"], content["money"]["alerts"], content["chain"] = "idle", [], "ok"
            content["reach"] = reach_to_plain(REACHES["public"])  # as if it were among others
            for check in content["checks"]:
                check["ok"] = check["check"] not in failing

    seen.is_forgiven = True
    page = open_page(earner)
    for names, tone in (([], "calm"), (["demand"], "calm"), (["demand", "capacity"], "warn")):
        failing[:] = names
        open_changed(page, change)
        expect(page.locator("#bar .state")).to_have_attribute("data-tone", tone)
    expect(page.locator(".checks h2")).to_have_text("2 checks fail")
    assert page.locator(".checks tbody tr").first.inner_text().startswith("Demand")
    failing.clear()
    open_changed(page, change)
    expect(page.locator(".checks summary")).to_contain_text("All checks hold: price, reachable, demand")
    expect(page.locator(".checks table")).to_be_hidden()
    page.locator(".checks summary").click()
    expect(page.locator(".checks table").first).to_be_visible()
    assert page.evaluate(AUDIT) == []


def test_a_node_on_a_chain_of_its_own_says_that_nobody_can_find_it(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner, "peers")
    expect(page.locator(".state-box")).to_contain_text("on a private development chain")


@pytest.mark.parametrize(
    ("health", "bar", "words"),
    [("down", "Chain down", "The chain does not answer"), ("halted", "Chain halted", "No money moves until you act")],
)
def test_a_chain_that_is_down_or_another_says_why_and_what_goes_on(
    earner: Node, open_page: OpenPage, seen: Seen, health: str, bar: str, words: str
) -> None:
    seen.is_forgiven = True
    page = open_page(earner)
    open_changed(page, chain_is(health))
    expect(page.locator("#bar .state")).to_have_text(bar)
    expect(page.locator(".note.bad")).to_contain_text(f"{words}: {WHY}. Answers of this machine go on.")
    expect(page.locator(".note.bad .cli")).to_contain_text("doctor --only chain")
    expect(page.locator('tr[data-key^="row 0x"]').first).to_contain_text("0x")  # the rest of the page is there
    assert page.evaluate(AUDIT) == []


def test_what_may_cost_money_is_told_on_the_money_screen(earner: Node, open_page: OpenPage, seen: Seen) -> None:
    def change(path: str, content: Any) -> None:
        if path == "/status":
            content["money"]["alerts"] = ["the draw of claim 7 lapses in 60 blocks: see `wallet history`", "another"]

    seen.is_forgiven = True
    page = open_page(earner, "money")
    assert page.locator(".note.bad").count() == 0
    open_changed(page, change)
    expect(page.locator(".note.bad").first).to_have_text(
        "the draw of claim 7 lapses in 60 blocks: see wallet history."
    )
    expect(page.locator(".note.bad")).to_have_count(2)
    assert page.evaluate(AUDIT) == []


def test_a_paused_node_says_since_when_and_how_it_goes_on(earner: Node, open_page: OpenPage, seen: Seen) -> None:
    seen.is_forgiven = True
    page = open_page(earner)
    open_changed(page, paused)
    expect(page.locator("#bar .state")).to_have_text("Paused")
    expect(page.locator("#bar button", has_text="Resume")).to_be_visible()
    expect(page.locator(".note button.primary")).to_have_text("Resume")
    expect(page.locator(".note .cli")).to_contain_text("openledger-node resume")
    assert page.evaluate(AUDIT) == []


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"state": "unloaded", "load_s": 8.2}, "unloaded; the next request loads it in about 8 s"),
        ({"state": "failed", "why_failed": "the driver finds no GPU"}, "the driver finds no GPU"),
    ],
    ids=["unloaded", "failed"],
)
def test_an_engine_without_memory_says_why_and_takes_none(
    earner: Node, open_page: OpenPage, seen: Seen, engine: dict[str, Any], words: str
) -> None:
    def change(path: str, content: Any) -> None:
        if path == "/status":
            content["engine"] |= {"process_id": None, "base_bytes": 7 << 30, **engine}
            content["engine"]["kv_cache"] |= {"blocks": 0}
            content["adapters"]["resident_bytes"] = 0

    seen.is_forgiven = True
    page = open_page(earner)
    open_changed(page, change)
    expect(page.locator("dl.facts", has_text="Engine")).to_contain_text(words)
    expect(page.locator("#bar")).not_to_contain_text("GB")
    assert page.evaluate(AUDIT) == []


def test_no_peers_says_what_was_tried_and_what_to_do(among_others: Node, open_page: OpenPage, seen: Seen) -> None:
    seen.is_forgiven = True
    page = open_page(among_others, "peers")
    open_changed(page, nobody_connected)
    box = page.locator(".state-box")
    expect(box).to_contain_text("No peers yet")
    expect(box).to_contain_text("addresses were tried: ")
    expect(box.locator("button.primary")).to_have_text("Try again")
    expect(box.locator(".cli")).to_contain_text("doctor --only network")
    assert page.evaluate(AUDIT) == []


# ---- how others reach the node


def reached(state: str) -> Change:
    """Make the node reached in one of the six ways, and its peers connected on the path that goes with it."""
    reach = reach_to_plain(REACHES[state])

    def change(path: str, content: Any) -> None:
        if path == "/status":
            content["state"], content["reach"], content["suggestion"] = "idle", reach, None
            content["why_idle"] = "nothing to answer just now"
            for check in content["checks"]:
                check["ok"] = True
                if check["check"] == "reachable":
                    check["ok"], check["says"] = state != "unreachable", reach["says"]
                    if state == "unreachable":
                        content["why_idle"] = reach["says"]
                        content["suggestion"] = {"says": "see why", "cli": "openledger-node doctor --only network"}
        if path == "/money/peers":
            for peer in content["peers"]:
                if peer["is_connected"]:
                    peer["path"] = {"punched": "punched", "relayed": "relayed"}.get(state, "direct")

    return change


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("state", "bar", "chip"),
    [
        ("unknown", "not known yet", "LAN"),
        ("public", "directly", "LAN"),
        ("mapped", "directly", "LAN"),
        ("punched", "by hole punching", "punched"),
        ("relayed", "over a relay", "relay"),
        ("unreachable", "by nobody", "LAN"),
    ],
)
def test_each_way_in_which_others_reach_the_node_is_said_with_what_helps(
    among_others: Node, open_page: OpenPage, seen: Seen, state: str, bar: str, chip: str, scheme: str
) -> None:
    seen.is_forgiven = True
    reach = reach_to_plain(REACHES[state])
    page = open_page(among_others, "home", scheme=scheme)
    open_changed(page, reached(state))
    expect(page.locator("#bar .bar-mid").first).to_contain_text(f"reached {bar}")
    if state in ("relayed", "unreachable"):
        expect(page.locator(".why .note")).to_have_count(1)
        expect(page.locator(".why .note")).to_contain_text(str(reach["remedy"]))
    assert page.evaluate(AUDIT) == []
    show(page, "peers")
    found = page.locator("section.panel", has_text="How you are found")
    expect(found).to_contain_text(str(reach["says"])[1:])
    for text in (reach["remedy"], reach["router"], *reach["seen_as"], *reach["addresses"]):
        expect(found).to_contain_text(text or "Reachable")
    expect(found.get_by_text("Relays")).to_have_count(1 if reach["relays"] else 0)
    expect(page.locator(".chip", has_text=chip).first).to_be_visible()
    for width in (1280, 380):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(AUDIT) == []


def test_sellers_are_listed_with_who_is_asked_who_wins_and_why(
    among_others: Node, open_page: OpenPage, seen: Seen
) -> None:
    asked = {"num_asked": 5, "num_won": 2, "trust_ppm": 812_000, "bonded_wei": str(10**18), "why_not": None}
    lost = {**asked, "num_won": 0, "why_not": "another bid was better: 3 wei in"}
    unbonded = {**asked, "num_asked": 0, "num_won": 0, "bonded_wei": "0"}

    def change(path: str, content: Any) -> None:
        if path == "/money/peers":
            some = next(peer for peer in content["peers"] if peer["seller"])
            content["peers"] = [
                {
                    **some,
                    "peer_id": f"{some['peer_id'][:-1]}{n}",
                    "serves": True,
                    "seller": {**some["seller"], **each},
                }
                for n, each in enumerate((asked, lost, unbonded), 1)
            ]

    seen.is_forgiven = True
    page = open_page(among_others, "peers")
    open_changed(page, change)
    rows = page.locator("section.panel", has_text="Sellers: who is asked").locator("tbody tr:not(.more)")
    for row, words in enumerate(("it won the last call", "another bid was better", "its wallet has no bond")):
        expect(rows.nth(row)).to_contain_text(words)
    expect(rows.first).to_contain_text("81 %")
    assert page.evaluate(AUDIT) == []


# ---- the next step, on each screen


NO_WALLET = "there is no wallet in /keys: create it with `openledger-node wallet create`"


def without_wallet(path: str, content: Any) -> None:
    if path == "/status":
        content |= {"network": "lake-1", "chain": "down"}
        content["money"]["why_down"] = NO_WALLET


@pytest.mark.parametrize("screen", ["home", "money", "governance"])
def test_a_node_without_a_wallet_names_the_command_that_makes_one(
    untouched: Node, open_page: OpenPage, seen: Seen, screen: str
) -> None:
    seen.is_forgiven = True
    page = open_page(untouched, screen)
    open_changed(page, without_wallet)
    note = page.locator(".note.bad")
    expect(note).to_contain_text("No money moves yet: there is no wallet in /keys")
    expect(note.locator(".cli code")).to_have_text("openledger-node wallet create")
    assert page.evaluate(AUDIT) == []


def test_chat_without_an_adapter_names_the_command_that_trains_one(untouched: Node, open_page: OpenPage) -> None:
    page = open_page(untouched, "chat")
    note = page.locator(".welcome .note")
    expect(note).to_contain_text("There is no adapter here yet, and nobody offers one, so only the base answers")
    expect(note.get_by_role("link")).to_have_text("Open the factory")
    expect(note.locator(".cli code")).to_have_text("openledger-node factory train --sample --name harbour")


def test_chat_says_what_it_waits_for(untouched: Node, open_page: OpenPage, seen: Seen) -> None:
    seen.is_forgiven = True
    page = open_page(untouched, "chat")
    open_changed(page, loading)
    expect(page.locator(".welcome")).to_contain_text("Loading the base, 40 %. You can ask as soon as it is loaded.")
    open_changed(page, paused)
    notice = page.locator(".composer .note")
    expect(notice).to_contain_text("The node is paused.")
    expect(notice.get_by_role("button")).to_have_text("Resume")


def test_chat_of_a_node_that_serves_nothing_points_to_its_peers(
    untouched: Node, open_page: OpenPage, seen: Seen
) -> None:
    def requester(path: str, content: Any) -> None:
        if path == "/status":
            content["limits"]["serve"] = False

    seen.is_forgiven = True
    page = open_page(untouched, "chat")
    page.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": []}))
    open_changed(page, requester)
    note = page.locator(".welcome .note")
    expect(note).to_contain_text("This node serves no model itself, and no peer offers one now")
    expect(note.get_by_role("link")).to_have_text("See the peers")
    expect(note.locator(".cli code")).to_have_text("openledger-node peers list")


def test_adapters_without_an_adapter_name_the_command_that_trains_one(untouched: Node, open_page: OpenPage) -> None:
    page = open_page(untouched, "adapters")
    box = page.locator(".state-box")
    expect(box).to_contain_text("No adapter is here yet")
    expect(box.locator(".cli code")).to_have_text("openledger-node factory train --sample --name harbour")
    expect(page.locator(".panel", has_text="Add or pull")).to_contain_text("You can pull from the Hugging Face hub")


def test_adapters_without_a_peer_point_to_the_peers(among_others: Node, open_page: OpenPage, seen: Seen) -> None:
    seen.is_forgiven = True
    page = open_page(among_others, "adapters")
    page.context.route("**/money/search", lambda route: route.fulfill(json={"base": "fake", "adapters": []}))
    open_changed(page, nobody_connected)
    panel = page.locator("section.panel[aria-label='On the network']")
    expect(panel).to_contain_text("No peer is connected, so no offers are heard. See the peers")
    panel.get_by_role("link", name="See the peers").click()
    expect(page.locator("h1")).to_have_text("Peers")


def test_the_factory_names_each_next_step(untouched: Node, open_page: OpenPage) -> None:
    page = open_page(untouched, "factory")
    expect(page.locator("main")).to_contain_text("you can train on the sample rows. Make one of your files.")
    expect(page.locator(".state-box")).to_contain_text("Give the adapter a name in part 1, then press Start training")
    expect(page.locator(".panel", has_text="4 Publish")).to_contain_text(
        "When training ends, publish the adapter here"
    )


def test_the_factory_without_a_base_points_to_the_models(untouched: Node, open_page: OpenPage, seen: Seen) -> None:
    def change(path: str, content: Any) -> None:
        if path == "/factory":
            content["bases"] = []

    seen.is_forgiven = True
    page = open_page(untouched, "factory")
    open_changed(page, change)
    box = page.locator(".state-box", has_text="No base to train on")
    box.get_by_role("link", name="Choose a base").click()
    expect(page.locator("h1")).to_have_text("Models")


@pytest.mark.parametrize("screen", ["money", "governance", "peers"])
def test_a_node_on_no_network_names_the_command_that_joins_one(
    untouched: Node, open_page: OpenPage, screen: str
) -> None:
    page = open_page(untouched, screen)
    expect(page.locator(".state-box .cli code").first).to_have_text("openledger-node network join network.json")


LORA, FAR = "0x" + "ab" * 32, "0x" + "cd" * 32
OFFERED = {"base": "fake", "base_digest": "0x" + "01" * 32, "is_our_base": True, "is_here": False}
PRICES = {"price_wei": str(5 * 10**15), "price_cold_wei": str(15 * 10**15)}
NAMES = (("harbour", LORA, 3, 1), ("valley", "0x" + "11" * 32, 1, 0))  # name, id, sellers, those with it in memory
BY_HOUR = [0] * 20 + [1, 2, 0, 1]


def asked_for(path: str, content: Any) -> None:
    if path == "/status":
        content |= {"chain": "ok", "network": "development-1", "peer_id": "12D3KooWme", "peers": 3}
        lacking = [(LORA, None, 4), (FAR, None, 3), ("0x" + "ef" * 32, "here", 0)]
        keys = ("adapter_id", "model", "lacking")
        calls = [{**dict(zip(keys, each, strict=True)), "calls": 9, "by_hour": BY_HOUR} for each in lacking]
        content["demand"] = {"adapters": calls, "wanted": [{"model": "poet", "requests": 2, "by_hour": BY_HOUR}]}


def said(answer: Any) -> Callable[[Route], None]:
    return lambda route: route.fulfill(json=answer)


def test_the_page_says_who_would_load_an_adapter_at_which_price_and_what_was_asked_for_in_vain(
    alone: Node, open_page: OpenPage, seen: Seen
) -> None:
    page = open_page(alone)
    keys = ("name", "id", "num_sellers", "num_in_memory")
    offers = [{**OFFERED, **PRICES, **dict(zip(keys, each, strict=True)), "full_name": each[0]} for each in NAMES]
    answers = {"peers": {"peer_id": "12D3KooWme", "peers": []}, "search": {"base": "fake", "adapters": offers}}
    for question, answer in answers.items():
        page.route(f"**/operator/money/{question}", said(answer))
    open_changed(page, asked_for)
    seen.is_forgiven = True  # this node is on no network and refuses the page's other questions about money
    show(page, "adapters")
    offer = page.get_by_label("On the network", exact=True)
    expect(offer.locator("tbody tr", has_text="harbour")).to_contain_text("up to 0.015 if loaded first")
    expect(offer.locator("tbody tr", has_text="harbour")).to_contain_text("1 in memory")
    expect(offer.locator("tbody tr", has_text="valley")).to_contain_text("on disk, loaded when you ask")
    expect(offer).to_contain_text("loads it for the first request")
    asked = page.get_by_label("Asked for and not here", exact=True)
    expect(asked.locator("tbody tr:not(.more)")).to_have_count(3)
    expect(asked.locator("tbody tr:not(.more)", has_text="harbour").get_by_role("button")).to_have_text("Pull")
    expect(asked.locator("tbody tr:not(.more)", has_text="no name heard")).to_contain_text("nobody offers it")
    poet = asked.locator("tbody tr:not(.more)", has_text="poet")
    expect(poet).to_contain_text("this machine")
    expect(poet).to_contain_text("nobody offers it")
    assert page.evaluate(AUDIT) == []
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
