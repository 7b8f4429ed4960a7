"""Chat: both columns stream, and who taught the answer is what the verb says, by mouse and by keys."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from support.commands import run_command
from support.processes.nodes import Node, command_json, node_environment
from support.processes.taught import ANSWER, HOSTILE, HOSTILE_ANSWER, NAME, UNBONDED, buy_as_guest

OpenPage = Callable[..., Page]
OPEN_WEI = 10**18
AUDIT = (Path(__file__).parent / "audit.js").read_text()


@pytest.fixture(scope="module")
def answered(taught: Node) -> dict[str, Any]:
    """An answer's receipt, as `attribution show --json` prints it."""
    digest = buy_as_guest(taught.home, ANSWER)["digest"]
    return command_json(taught.home, "attribution", "show", digest, **UNBONDED)


def show(open_page: OpenPage, node: Node, screen: str, **options: Any) -> Page:
    page = open_page(node, "home", **options)
    page.evaluate("(screen) => { location.hash = `#/${screen}`; }", screen)
    return page


@pytest.fixture
def shown(taught: Node, answered: dict[str, Any], open_page: OpenPage) -> Page:
    page = show(open_page, taught, f"chat?receipt={answered['digest']}")
    page.locator(".answer .mark").first.wait_for()
    return page


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.eval_on_selector_all(selector, "(all) => all.map((each) => each.textContent)")
    return found


def amount(wei: str) -> str:
    whole, rest = divmod(int(wei), OPEN_WEI)
    return f"{whole:,}.{rest:018d}"[: len(f"{whole:,}") + 7]


def wait_for_both(page: Page) -> None:
    expect(page.locator(".figures").nth(0)).to_contain_text("tokens")
    expect(page.locator(".figures").nth(1)).to_contain_text("tokens")
    expect(page.locator("[data-key=send]")).to_have_text("Send")


# ---- asking


def test_both_columns_answer_and_the_guests_receipt_says_who_taught_the_one(
    taught: Node, open_page: OpenPage
) -> None:
    page = show(open_page, taught, "chat")
    expect(page.locator("#adapter")).to_have_value(NAME)
    page.locator("#question").fill("What do I check first?")
    page.locator("#question").press("Control+Enter")
    expect(page.locator(".taught")).to_contain_text("Who taught this answer")
    wait_for_both(page)
    expect(page.locator(".question")).to_have_text("What do I check first?")
    newest = command_json(taught.home, "attribution", "show", "--limit", "1", **UNBONDED)["receipts"][0]
    receipt = command_json(taught.home, "attribution", "show", newest["digest"], **UNBONDED)
    shown_answer = (
        page.locator(".answer").nth(1).evaluate("(e) => [...e.childNodes].map((n) => n.data ?? '').join('')")
    )
    assert shown_answer == receipt["answer"]
    alone = command_json(
        taught.home,
        *("chat", "What do I check first?", "--temperature", "0", "--seed", "0", "--max-tokens", "256"),
        **UNBONDED,
    )
    assert page.locator(".answer").nth(0).inner_text() == alone["answer"].strip()
    assert receipt["tokens_out"] == int(page.locator(".figures").nth(1).inner_text().split()[0].replace(",", ""))


def test_without_a_guest_the_answer_is_free_and_the_page_says_why_nobody_is_named(
    taught: Node, open_page: OpenPage
) -> None:
    page = show(open_page, taught, "chat")
    page.locator("#guest").uncheck()
    before = command_json(taught.home, "attribution", "show", **UNBONDED)["receipts"]
    page.locator("#question").fill("Free?")
    page.locator("[data-key=send]").click()
    expect(page.locator("main")).to_contain_text("Your own requests are free and leave no receipt")
    assert command_json(taught.home, "attribution", "show", **UNBONDED)["receipts"] == before


def test_chat_works_on_a_machine_without_a_wallet_or_an_adapter(alone: Node, open_page: OpenPage) -> None:
    page = show(open_page, alone, "chat")
    expect(page.locator("main")).to_contain_text("There is no adapter here yet")
    page.locator("#question").fill("hello")
    page.locator("[data-key=send]").click()
    expect(page.locator(".figures").nth(0)).to_contain_text("to first")
    expect(page.locator(".answer").nth(1)).to_contain_text("No adapter to ask")


def test_an_answer_is_stopped_and_what_came_stays(alone: Node, open_page: OpenPage) -> None:
    page = show(open_page, alone, "chat")
    page.locator("#question").wait_for()
    page.route("**/v1/chat/completions", lambda route: None)
    page.locator("#question").fill("on and on...")
    page.locator("[data-key=send]").click()
    expect(page.locator("[data-key=send]")).to_have_text("Stop")
    page.locator("[data-key=send]").click()
    expect(page.locator("[data-key=send]")).to_have_text("Send")
    expect(page.locator(".figures").nth(0)).to_contain_text("stopped")


def test_an_adapter_of_the_address_that_is_not_here_is_said_to_be_missing(taught: Node, open_page: OpenPage) -> None:
    page = show(open_page, taught, "chat?adapter=lost")
    expect(page.locator(".note")).to_contain_text("Nobody offers lost just now")
    expect(page.locator(".note .cli")).to_contain_text("adapters pull lost")


def test_an_engine_that_is_busy_says_so_and_can_be_asked_again(taught: Node, open_page: OpenPage, seen: Any) -> None:
    seen.is_forgiven = True
    page = show(open_page, taught, "chat")
    page.locator("#guest").uncheck()
    refused = {"error": {"message": "256 requests wait already"}}
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=429, json=refused))
    page.locator("#question").fill("now?")
    page.locator("[data-key=send]").click()
    expect(page.locator(".columns .note").first).to_contain_text("The engine is busy: 256 requests wait already.")
    page.unroute("**/v1/chat/completions")
    page.locator(".columns button", has_text="Ask again").first.click()
    expect(page.locator(".figures").nth(0)).to_contain_text("to first")


def test_one_column_is_asked_again_alone_while_the_other_still_writes(
    taught: Node, open_page: OpenPage, seen: Any
) -> None:
    seen.is_forgiven = True
    page = show(open_page, taught, "chat")
    page.locator("#guest").uncheck()
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.post_data_json["model"])
        if asked.count(NAME) == 1 and asked[-1] == NAME:
            route.fulfill(status=429, json={"error": {"message": "256 requests wait already"}})
        elif asked[-1] == NAME:
            route.continue_()  # what the base is asked stays without an answer

    page.route("**/v1/chat/completions", answer)
    page.locator("#question").fill("now?")
    page.locator("[data-key=send]").click()
    page.locator(".columns button", has_text="Ask again").click()
    expect(page.locator(".figures").nth(1)).to_contain_text("to first")
    expect(page.locator("[data-key=send]")).to_have_text("Stop")
    assert sorted(asked) == sorted([NAME, NAME, *(set(asked) - {NAME})])
    page.locator("[data-key=send]").click()
    expect(page.locator(".figures").nth(0)).to_contain_text("stopped")
    expect(page.locator("[data-key=send]")).to_have_text("Send")


# ---- who taught it


def test_spans_and_shares_are_those_that_the_verb_prints(shown: Page, answered: dict[str, Any]) -> None:
    teaching, answer = answered["teaching"], answered["answer"]
    assert [word.rstrip("1234…") for word in texts(shown, ".answer .mark")] == [
        answer[span["begin"] : span["end"]] for span in teaching["spans"]
    ]
    numbers = shown.eval_on_selector_all(".answer .mark", "(all) => all.map((each) => Number(each.dataset.person))")
    assert numbers == [span["number"] for span in teaching["spans"]]
    table = shown.locator(".taught table").first
    named = [person for person in teaching["people"] if person["number"]]
    for person in named:
        row = table.locator("tr", has_text=person["name"])
        expect(row).to_contain_text(f"{person['ppm']:,}")
        expect(row).to_contain_text(amount(person["amount_wei"]))
    expect(table.locator("tr.sum")).to_contain_text("1,000,000")
    expect(table.locator("tr.sum")).to_contain_text(amount(teaching["part_wei"]))
    percent = round(100 * teaching["tokens_matched"] / teaching["tokens"])
    expect(shown.locator(".taught header")).to_contain_text(f"{percent} % of its tokens match rows word for word")


def test_the_first_persons_rows_are_shown_with_what_matched(shown: Page, answered: dict[str, Any]) -> None:
    teaching = answered["teaching"]
    own = [row for row in teaching["rows"] if row["account"] == teaching["people"][0]["account"]]
    assert shown.locator(".person.row").count() == len(own)
    assert texts(shown, ".person.row .mark") == [
        row["text"][mark["begin"] : mark["end"]] for row in own for mark in row["marks"]
    ]


def test_a_span_is_pressed_its_person_stands_out_and_a_second_press_lets_go(shown: Page) -> None:
    span = shown.locator('.answer .mark[data-person="2"]').first
    span.click()
    expect(span).to_have_attribute("aria-pressed", "true")
    expect(shown.locator(".answer.choosing")).to_have_count(1)
    expect(shown.locator("tr.chosen")).to_contain_text("2")
    expect(shown.locator(".rows")).to_contain_text("Rows by")
    span.click()
    expect(shown.locator(".answer.choosing")).to_have_count(0)


def test_keys_walk_the_spans_choose_a_person_and_let_go(shown: Page) -> None:
    shown.evaluate("() => document.activeElement.blur()")
    shown.keyboard.press("]")
    expect(shown.locator(".answer .mark").first).to_be_focused()
    shown.keyboard.press("]")
    expect(shown.locator(".answer .mark").nth(1)).to_be_focused()
    shown.keyboard.press("[")
    expect(shown.locator(".answer .mark").first).to_be_focused()
    shown.keyboard.press("Enter")
    expect(shown.locator(".answer .mark").first).to_have_attribute("aria-pressed", "true")
    shown.keyboard.press("Escape")
    expect(shown.locator(".answer.choosing")).to_have_count(0)
    shown.keyboard.press("3")
    expect(shown.locator("tr.chosen .person")).to_have_text("3")
    shown.keyboard.press("0")
    expect(shown.locator("tr.chosen")).to_have_count(0)


def test_rows_and_datanets_are_grouped_without_changing_colours(shown: Page, answered: dict[str, Any]) -> None:
    before = shown.eval_on_selector_all(".answer .mark", "(all) => all.map((each) => each.dataset.person)")
    shown.locator(".segments button", has_text="Rows").click()
    expect(shown.locator(".taught table").first.locator("tbody tr[tabindex]")).to_have_count(
        len(answered["teaching"]["rows"])
    )
    shown.locator(".segments button", has_text="Datanets").click()
    expect(shown.locator(".taught table").first).to_contain_text("field-notes")
    assert shown.eval_on_selector_all(".answer .mark", "(all) => all.map((each) => each.dataset.person)") == before


def test_verify_again_warns_and_shows_each_step(shown: Page, answered: dict[str, Any], taught: Node) -> None:
    shown.locator("button", has_text="Verify again").click()
    expect(shown.locator("dialog")).to_contain_text("Whoever verifies reads the text")
    shown.locator("dialog button", has_text="Verify").last.click()
    expect(shown.locator("dialog")).to_contain_text("Suffix integers equal")
    found = command_json(taught.home, "attribution", "verify", answered["digest"], **UNBONDED)
    assert shown.locator("dialog tbody tr").count() == len(found["checks"])
    for check in found["checks"]:
        expect(shown.locator("dialog")).to_contain_text(check["detail"][:60])


def test_hostile_text_of_a_row_and_of_an_answer_stays_text(taught: Node, open_page: OpenPage) -> None:
    digest = buy_as_guest(taught.home, HOSTILE_ANSWER)["digest"]
    page = show(open_page, taught, f"chat?receipt={digest}")
    page.locator(".answer .mark").first.wait_for()
    page.locator(".segments button", has_text="Rows").click()
    rows = page.locator(".rows")
    expect(rows).to_contain_text("<script>alert(1)</script>")
    expect(rows).to_contain_text("\\u202e")
    assert page.locator("main script, main img").count() == 0
    assert "\u202e" in HOSTILE
    assert "\u202e" not in page.locator("main").inner_text()


def test_every_line_for_a_terminal_is_one_that_the_program_takes(shown: Page, taught: Node) -> None:
    lines = set(texts(shown, ".cli code"))
    shown.evaluate("() => { location.hash = '#/money'; }")
    shown.locator(".way").wait_for()
    lines |= set(texts(shown, ".cli code"))
    assert any("--base-too" in line for line in lines)
    verbs = {tuple(word for word in shlex.split(line)[1:3] if word[0] not in "-0'") for line in lines}
    for verb in verbs:
        assert run_command(*verb, "--help", env=node_environment(taught.home, **UNBONDED)).returncode == 0, verb


def test_base_too_prints_both_answers_as_one_object(taught: Node) -> None:
    found = command_json(
        taught.home, "chat", "hello", "--base-too", NAME, "--as-guest", "--max-tokens", "20", **UNBONDED
    )
    assert found["base"]["answer"]
    assert found["answer"] != found["base"]["answer"]
    assert json.dumps(found["receipt"]["work"]["tokens_out"])


@pytest.mark.parametrize("width", [320, 380, 768, 1280])
def test_the_panel_never_scrolls_the_page_sideways(
    taught: Node, answered: dict[str, Any], open_page: OpenPage, width: int
) -> None:
    page = show(open_page, taught, f"chat?receipt={answered['digest']}", width=width)
    page.locator(".answer .mark").first.wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_taught_an_answer_can_be_read_reached_and_named_chosen_or_not(
    taught: Node, answered: dict[str, Any], open_page: OpenPage, scheme: str
) -> None:
    page = show(open_page, taught, f"chat?receipt={answered['digest']}", scheme=scheme)
    page.locator(".answer .mark").first.wait_for()
    for width in (380, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        for press in ("0", "2"):
            page.keyboard.press(press)
            assert page.evaluate(AUDIT) == [], (width, press)
