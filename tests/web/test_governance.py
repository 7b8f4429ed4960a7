"""Governance: a proposal and a vote on the page, and all that a proposal may be and say."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from support.pages import AUDIT, Change, change_answers, is_command
from support.processes.nodes import EMBEDDED, Node, ask, command_json
from web.parts import OpenPage, carry_out, tile

MINED_MS = 30_000
VOTES_WEI = 50_000_000 * 10**18
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe\u0007 ${1}"
HOSTILE_SHOWN = "<script>alert(2)</script>\\u202egnp.exe"
OTHER = "0x" + "11" * 20


def verb(node: Node, *words: str) -> dict[str, Any]:
    return command_json(node.home, *words, **EMBEDDED)


def panel(page: Page, name: str) -> Locator:
    return page.locator(f'.panel[aria-label="{name}"]')


# ---- a whole vote


@pytest.fixture(scope="module")
def voted(earner: Node) -> Node:
    """The node that has proposed and voted; the first test makes it so."""
    assert ask(earner.home, "gov_list", all=True)["proposals"], "test_a_value_is_proposed… goes first"
    return earner


def test_a_value_is_proposed_and_voted_for_on_the_page(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner, "governance")
    expect(tile(page, "Open proposals").locator(".value")).to_have_text("0")
    propose(page)
    shown = panel(page, "Proposal")
    expect(shown.locator("h2")).to_have_text("Proposal 1: dataPpm 20 % → 22 %", timeout=MINED_MS)
    expect(shown).to_contain_text(HOSTILE_SHOWN)
    assert page.locator("main img, main script").count() == 0
    vote_for(page, earner)
    assert verb(earner, "gov", "show", "1")["own"]["support"] == "for"


def propose(page: Page) -> None:
    page.locator('[data-key="propose"]').click()
    dialog = page.locator("dialog")
    page.locator("#propose-key").select_option("dataPpm")
    expect(dialog).to_contain_text("From 10 % to 30 %, this time from 15 % to 25 %")
    page.locator("#propose-value").fill("22%")
    page.locator("#propose-reason").fill(f"it's due {HOSTILE}")
    line = dialog.locator(".cli code").inner_text()
    assert line.startswith("openledger-node gov propose dataPpm=22% --reason 'it'\\''s due <img")
    assert is_command(line)
    dialog.locator("button", has_text="Continue").click()
    expect(dialog).to_contain_text("voting begins at")
    carry_out(page)


def vote_for(page: Page, node: Node) -> None:
    shown, count = panel(page, "Proposal"), page.locator("#nav a", has_text="Governance").locator(".count")
    button = shown.locator("button", has_text="Vote for…")
    button.wait_for(timeout=MINED_MS)
    expect(count).to_have_text("1")
    assert verb(node, "status")["waiting"]["governance"] == 1
    expect(tile(page, "Open proposals")).to_contain_text("1 waits for your vote")
    button.hover()
    expect(shown.locator(".ballot .cli code")).to_have_text("openledger-node gov vote 1 for")
    button.press("Enter")
    dialog = page.locator("dialog")
    expect(dialog.locator("button", has_text="Cancel")).to_be_focused()
    expect(dialog.locator(".cli code")).to_have_text("openledger-node gov vote 1 for")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog.locator(".chip").first).to_contain_text(re.compile("mined|final"), timeout=MINED_MS)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(shown.locator(".voted")).to_contain_text("You voted for with 50,000,")
    expect(shown).to_contain_text("for + abstain, 125 %")
    expect(count).to_have_count(0)


# ---- the figures


def test_votes_quorum_and_every_value_are_those_that_the_commands_print(voted: Node, open_page: OpenPage) -> None:
    page = open_page(voted, "governance")
    votes, rules = verb(voted, "gov", "votes"), verb(voted, "gov", "params")
    expect(tile(page, "Your votes").locator(".amount")).to_have_attribute("title", f"{votes['votes_wei']} wei")
    assert int(votes["votes_wei"]) > VOTES_WEI
    quorum = f"{int(votes['quorum_wei']) // 10**18:,}"
    expect(tile(page, "Quorum").locator(".value")).to_have_text(quorum)
    values = panel(page, "Parameters")
    for each in rules["values"]:
        row = values.locator(f'tr[data-key="row {each["key"]}"]')
        expect(row.locator("td").first).to_have_text(each["text"])
        expect(row).to_contain_text(each["meaning"])
    page.locator('[data-key="fixed"]').click()
    for each in rules["fixed"]:
        expect(values.locator(f'tr[data-key="row {each["name"]}"]')).to_contain_text(each["meaning"])
    assert page.evaluate(AUDIT) == []


# ---- every state of a proposal


def as_state(state: str, **more: Any) -> Change:
    """Show the executed proposal as if it were in another state; voting ends in an hour, and nothing is cast."""
    is_open = state in ("pending", "active", "succeeded", "queued")

    def alter(each: dict[str, Any], now_s: int) -> None:
        times = {"votes_from_s": now_s + (60 if state == "pending" else -60), "votes_until_s": now_s + 3_600}
        own = {**each["own"], "support": None}
        each |= {"state": state, "is_open": is_open, **times, "own": own, "execute_from_s": None, **more}

    def change(path: str, content: Any) -> None:
        if "chain_time_s" in content:  # else a block between two answers would count
            content["chain_time_s"] = first_s.setdefault("now", content["chain_time_s"])
        if path == "/money/gov_show":
            alter(content, content["chain_time_s"])
        if path == "/money/gov_list":
            if is_open and not content["proposals"]:
                content["proposals"] = [shown_in_list[0]]
            for each in content["proposals"]:
                shown_in_list[:] = [each]
                alter(each, content["chain_time_s"])

    first_s: dict[str, int] = {}
    shown_in_list: list[Any] = [{"number": 1, "id": "0x", "own": {"weight_wei": "1"}, "values": [], "slashes": []}]
    return change


def test_a_proposal_says_its_state_and_what_can_be_done(voted: Node, open_page: OpenPage) -> None:
    page = open_page(voted, "governance")

    def check(state: str, says: str, buttons: list[str], **more: str | int) -> None:
        change_answers(page, as_state(state, **more))
        shown = panel(page, "Proposal")
        expect(shown.locator("header")).to_contain_text(says)
        expect(shown.locator(".ballot .buttons button")).to_have_text(buttons)
        for button in shown.locator(".ballot .buttons button").all():
            button.hover()
            assert is_command(shown.locator(".ballot .cli code").inner_text())

    check("pending", "voting begins in 60 s", ["Cancel…"])
    check("active", "voting ends in 60 min", ["Vote for…", "Against…", "Abstain…"])
    check("succeeded", "carried; anybody can queue it", ["Queue…"])
    check("queued", "can be executed now, by anybody", ["Execute…"], execute_from_s=1)
    check("defeated", "not carried: no quorum", [], for_wei="1", against_wei="0", abstain_wei="0")
    check("defeated", "not carried: not more for than against", [], abstain_wei=str(VOTES_WEI))


def test_a_vote_on_a_stake_names_the_node_and_the_evidence_and_needs_two_thirds(
    voted: Node, open_page: OpenPage
) -> None:
    slash = {"node": OTHER, "amount_wei": str(10**18), "evidence": "0x" + "ab" * 32}

    def change(path: str, content: Any) -> None:
        as_state(state, values=[], abstain_wei=str(VOTES_WEI), slashes=[slash])(path, content)

    page = open_page(voted, "governance", width=380)
    state = "active"
    change_answers(page, change)
    expect(page.locator(".ballot button.primary")).to_be_visible()
    expect(panel(page, "Proposal").locator(".note")).to_contain_text(
        f"Burns up to 1 OPEN of the stake of {OTHER}; two thirds of all votes cast must be for it. "
        f"Evidence: the file whose keccak256 is {slash['evidence']}."
    )
    assert page.evaluate(AUDIT) == []
    state = "defeated"
    change_answers(page, change)
    expect(panel(page, "Proposal").locator("header")).to_contain_text("not carried: less than two thirds for")


# ---- what strangers write


def test_what_a_proposer_writes_stays_text_and_a_call_that_is_not_understood_is_shown_raw(
    voted: Node, open_page: OpenPage
) -> None:
    raw = {"text": HOSTILE, "contract": None, "is_known": False, "target": OTHER, "data": "0xdeadbeef", "changes": []}

    def change(path: str, content: Any) -> None:
        as_state("active", title=HOSTILE, values=[], is_understood=False)(path, content)
        if path == "/money/gov_show":
            content |= {"description": HOSTILE + "x" * 100_000, "actions": [raw], "num_calls": 3, "num_voters": 1}
            content["voters"] = [{"voter": OTHER, "support": "for", "weight_wei": "1", "reason": HOSTILE}]

    page = open_page(voted, "governance")
    change_answers(page, change)
    shown = panel(page, "Proposal")
    expect(shown.locator("h2")).to_contain_text(HOSTILE_SHOWN)
    expect(shown.locator(".calls")).to_contain_text("0xdeadbeef")
    expect(shown).to_contain_text("and 2 more calls, which are not shown")
    expect(shown.locator(".note")).to_contain_text("Vote against a proposal that you don’t understand")
    shown.locator("summary").click()
    expect(shown.locator("details")).to_contain_text(HOSTILE_SHOWN)
    shown.locator("button", has_text="Show all").click()
    expect(shown.locator(".told")).to_contain_text("characters)")
    assert page.locator("main img, main script").count() == 0
    assert "\u202e" not in page.locator("main").inner_text()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


# ---- who votes, and the guardian


def test_votes_are_delegated_to_another_address(voted: Node, open_page: OpenPage) -> None:
    page = open_page(voted, "governance")
    power = panel(page, "Voting power")
    power.locator("#delegate-to").fill("somebody")
    power.locator("button", has_text="Delegate…").click()
    expect(page.locator("dialog")).to_have_count(0)
    expect(power.locator("#delegate-to")).to_have_attribute("aria-invalid", "")
    power.locator("#delegate-to").fill(OTHER)
    expect(power.locator(".cli code")).to_have_text(f"openledger-node gov delegate {OTHER}")
    power.locator("button", has_text="Delegate…").click()
    carry_out(page)
    expect(power).to_contain_text("Another account casts the votes of your OPEN")
    expect(tile(page, "Your votes").locator(".value")).to_have_text("0.000")
    assert verb(voted, "gov", "votes")["delegate"] == OTHER
    expect(power.locator("button", has_text="To yourself…")).to_be_enabled()


def test_the_page_says_what_the_guardian_can_stop(voted: Node, open_page: OpenPage) -> None:
    guardian = panel(open_page(voted, "governance"), "Guardian")
    expect(guardian).to_contain_text("this node’s wallet")
    expect(guardian).to_contain_text("once for ever and for at most 30 days")
    expect(guardian.locator("button", has_text="Pause")).to_have_count(0)
    assert verb(voted, "gov", "params")["guardian"]["can_stop"] is True
