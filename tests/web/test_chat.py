"""Chat: turns in both columns, and who taught the answer is what the command says, by mouse and by keys."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from support.pages import AUDIT
from support.processes.nodes import Node, command_json
from support.processes.taught import ANSWER, HOSTILE_ANSWER, NAME, UNBONDED, buy_as_guest
from web.parts import OpenPage, amount

from openledger_node.backends.fake import ENDLESS


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
    page.locator(".person.row").first.wait_for()  # drawn last, and only then do keys walk
    return page


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.eval_on_selector_all(selector, "(all) => all.map((each) => each.textContent)")
    return found


def stream(*deltas: dict[str, Any], finish: str = "stop", tokens: int = 3) -> str:
    """An answer as the API streams it."""
    ends = {"choices": [{"delta": {}, "finish_reason": finish}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": tokens}}
    events = [*({"id": "chatcmpl-00", "choices": [{"delta": each}]} for each in deltas), ends, usage]
    return "".join(f"data: {json.dumps(each)}\n\n" for each in events) + "data: [DONE]\n\n"


def answer_with(page: Page, *deltas: dict[str, Any], **end: Any) -> list[dict[str, Any]]:
    """Have the page hear this answer to each question; returns the bodies of what it asked."""
    asked: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        asked.append(route.request.post_data_json)
        route.fulfill(body=stream(*deltas, **end), content_type="text/event-stream")

    page.route("**/v1/chat/completions", answer)
    return asked


def send(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")


def words_of(page: Page, kind: str) -> list[str]:
    """The words of the last answer of a column, without the numbers of its marks."""
    last = page.locator(f".answer.{kind}").last
    text: str = last.evaluate(
        "(e) => { const all = e.cloneNode(true); all.querySelectorAll('sup').forEach((n) => n.remove());"
        " return all.textContent; }"
    )
    return text.split()


def wait_for_send(page: Page, turns: int = 1) -> None:
    expect(page.locator(".turn")).to_have_count(turns)
    expect(page.locator("[data-key=send]")).to_have_text("Send")


@pytest.fixture
def free(alone: Node, open_page: OpenPage) -> Page:
    """The chat of a machine without network or adapter."""
    page = open_page(alone, "chat")
    page.locator(".sample").first.wait_for()
    return page


# ---- asking


def test_both_columns_answer_and_the_guests_receipt_says_who_taught_the_one(
    taught: Node, open_page: OpenPage
) -> None:
    page = open_page(taught, "chat")
    expect(page.locator("#adapter")).to_have_value(NAME)
    send(page, "What do I check first?")
    expect(page.locator(".taught")).to_contain_text("Who taught this answer")
    wait_for_send(page)
    expect(page.locator(".question")).to_have_text("What do I check first?")
    newest = command_json(taught.home, "attribution", "show", "--limit", "1", **UNBONDED)["receipts"][0]
    receipt = command_json(taught.home, "attribution", "show", newest["digest"], **UNBONDED)
    assert words_of(page, "adapter") == receipt["answer"].split()
    alone = command_json(
        taught.home,
        *("chat", "What do I check first?", "--temperature", "0", "--seed", "0", "--max-tokens", "512"),
        **UNBONDED,
    )
    assert words_of(page, "base") == alone["answer"].split()
    expect(page.locator(".pace").nth(1)).to_contain_text(f"{receipt['tokens_out']} tokens · ")
    expect(page.locator(".pace").nth(1)).to_contain_text(f"paid {amount(receipt['amount_wei'])} OPEN")


def test_a_bought_answer_goes_on_and_each_part_has_its_receipt(taught: Node, open_page: OpenPage) -> None:
    page = show(open_page, taught, f"chat?base=-&adapter={NAME}")
    page.locator(".settings summary").click()
    page.locator("#set-maxTokens").fill("20")
    page.locator("#set-maxTokens").press("Tab")
    send(page, f"What do I check first{ENDLESS.decode()}")
    page.locator(".taught").wait_for()
    page.locator("[data-key='continue adapter']").click()
    expect(page.locator(".pace")).to_contain_text("40 tokens · ")
    expect(page.locator(".receipt")).to_be_visible()
    newest = command_json(taught.home, "attribution", "show", "--limit", "2", **UNBONDED)["receipts"]
    found = [command_json(taught.home, "attribution", "show", each["digest"], **UNBONDED) for each in newest]
    total = sum(int(each["amount_wei"]) for each in found)
    expect(page.locator(".pace")).to_contain_text(f"paid {amount(str(total))} OPEN")
    assert "".join(words_of(page, "adapter")) == "".join("".join(each["answer"] for each in reversed(found)).split())


def test_turns_follow_each_other_and_each_column_hears_its_own(taught: Node, open_page: OpenPage) -> None:
    page = open_page(taught, "chat")
    page.locator(".settings summary").click()
    page.locator("#guest").uncheck()
    page.locator("#system").fill("Be brief.")
    asked: list[dict[str, Any]] = []

    def answer(route: Route) -> None:
        asked.append(body := route.request.post_data_json)
        route.fulfill(body=stream({"content": f"{body['model']} {len(asked)}"}), content_type="text/event-stream")

    page.route("**/v1/chat/completions", answer)
    send(page, "first")
    wait_for_send(page)
    expect(page.locator(".said")).to_have_count(2)
    page.locator("#question").fill("second")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("line")
    page.keyboard.press("Enter")
    wait_for_send(page, 2)
    answers = {body["model"]: f"{body['model']} {n}" for n, body in enumerate(asked[:2], 1)}
    for body in asked[2:]:
        assert body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": answers[body["model"]]},
            {"role": "user", "content": "second\nline"},
        ]
    expect(page.locator("main")).to_contain_text("Your own requests are free and leave no receipt")
    page.locator("#adapter").select_option("-")
    assert "adapter=-" in page.url
    send(page, "third")
    wait_for_send(page, 3)
    assert [body["model"] for body in asked[4:]] == ["fake"]


def test_a_conversation_is_begun_by_a_sample_drawn_again_edited_and_kept_by_a_reload(free: Page) -> None:
    asked = answer_with(free, {"content": "Blue."})
    expect(free.locator("main")).to_contain_text("There is no adapter here yet")
    free.locator(".sample").first.click()
    wait_for_send(free)
    question = asked[0]["messages"][-1]["content"]
    free.locator("[data-key='another base']").click()
    expect(free.locator(".pace")).to_contain_text("temperature 0.7, seed 1")
    assert (asked[1]["seed"], asked[1]["temperature"]) == (1, 0.7)
    free.locator("[data-key='edit question']").click()
    expect(free.locator("#question")).to_have_value(question)
    send(free, "Which number?")
    wait_for_send(free)
    assert asked[2]["messages"] == [{"role": "user", "content": "Which number?"}]
    free.locator("#question").fill("half a que")
    free.reload()
    expect(free.locator(".question")).to_have_text("Which number?")
    expect(free.locator(".answer")).to_have_text("Blue.")
    expect(free.locator("#question")).to_have_value("half a que")
    free.locator("[data-key='new chat']").click()
    expect(free.locator(".turn")).to_have_count(0)
    expect(free.locator(".sample").first).to_be_visible()


def test_an_answer_that_was_cut_off_goes_on_where_it_stopped_and_what_came_of_a_stopped_one_stays(free: Page) -> None:
    answer_with(free, {"content": "One, two,"}, finish="length")
    send(free, "Count.")
    expect(free.locator(".after")).to_contain_text("Stopped at 512 tokens.")
    asked = answer_with(free, {"content": " three."})
    free.locator("[data-key='continue base']").click()
    expect(free.locator(".answer")).to_have_text("One, two, three.")
    assert asked[0]["messages"][-1] == {"role": "assistant", "content": "One, two,"}
    assert asked[0]["continue_final_message"]
    expect(free.locator("[data-key='continue base']")).to_have_count(0)

    free.locator("[data-key='new chat']").click()
    free.route("**/v1/chat/completions", lambda route: None)
    send(free, "on and on...")
    expect(free.locator("[data-key=send]")).to_have_text("Stop")
    free.keyboard.press("Escape")
    wait_for_send(free)
    expect(free.locator(".after")).to_contain_text("Stopped")


def test_a_refusal_says_why_and_has_one_way_out(free: Page, seen: Any) -> None:
    seen.is_forgiven = True

    def check(words: str, way: str, refuse: Callable[[Route], None]) -> None:
        free.route("**/v1/chat/completions", refuse)
        send(free, "now?")
        expect(free.locator(".said .note")).to_contain_text(words)
        assert "`" not in free.locator("main").inner_text()
        answer_with(free, {"content": "Yes."})
        free.locator(".said .note button", has_text=way).click()
        if way != "New chat":
            expect(free.locator(".answer")).to_have_text("Yes.")
            free.locator("[data-key='new chat']").click()
        expect(free.locator(".turn")).to_have_count(0)

    def refusal(status: int, message: str, code: str | None = None) -> Callable[[Route], None]:
        refused = {"error": {"message": message, "code": code}}
        return lambda route: route.fulfill(status=status, json=refused)

    busy, why = "256 requests wait already", "this node is paused by its owner: `openledger-node resume`"
    check(f"The engine is busy: {busy}.", "Ask again", refusal(429, busy))
    check("The node is paused.", "Resume", refusal(503, why))
    long = refusal(400, "the prompt is too long", "context_length_exceeded")
    check("This conversation no longer fits", "New chat", long)
    check("The node went away in the middle of the answer.", "Ask again", lambda route: route.abort())


def test_an_engine_that_loads_is_waited_for(free: Page, seen: Any) -> None:
    seen.is_forgiven = True
    refusals = [{"error": {"message": "the engine is still loading: try again soon", "code": "unavailable"}}]

    def answer(route: Route) -> None:
        if refusals:
            route.fulfill(status=503, json=refusals.pop())
        else:
            body = ": the engine is loading the base, about 3 s left\n\n" + stream({"content": "Yes."})
            route.fulfill(body=body, content_type="text/event-stream")

    free.route("**/v1/chat/completions", answer)
    send(free, "now?")
    expect(free.locator(".said")).to_contain_text("The engine is loading the base")
    assert free.locator(".said .note").count() == 0
    expect(free.locator(".answer")).to_have_text("Yes.")


def test_a_command_is_no_question(free: Page) -> None:
    asked = answer_with(free, {"content": "Hm."})
    send(free, "/help")
    expect(free.locator("dialog")).to_contain_text("Keyboard")
    free.keyboard.press("Escape")
    send(free, "/foo")
    expect(free.locator(".composer .note")).to_contain_text("There is no command /foo.")
    assert asked == []
    free.locator("[data-key='send anyway']").click()
    wait_for_send(free)
    assert asked[0]["messages"][-1]["content"] == "/foo"


def test_thoughts_are_folded_and_calls_of_tools_are_shown(free: Page) -> None:
    call = {"index": 0, "function": {"name": "weather", "arguments": '{"city":'}}
    more = {"index": 0, "function": {"arguments": '"Rome"}'}}
    answer_with(
        free,
        {"reasoning_content": "Rome is hot. "},
        {"content": "I look."},
        {"tool_calls": [call]},
        {"tool_calls": [more]},
    )
    send(free, "Is it hot in Rome?")
    expect(free.locator(".thought summary")).to_contain_text("Thought")
    expect(free.locator(".thought p")).to_be_hidden()
    free.locator(".thought summary").click()
    expect(free.locator(".thought p")).to_have_text("Rome is hot. ")
    expect(free.locator(".said")).to_contain_text("Calls weather")
    expect(free.locator(".said .row-text")).to_have_text('{"city":"Rome"}')


# ---- who taught it


def test_spans_and_shares_are_those_that_the_command_prints_and_can_be_walked_chosen_and_read(
    shown: Page, answered: dict[str, Any]
) -> None:
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
    for width, press in ((380, "2"), (1280, "0")):
        shown.set_viewport_size({"width": width, "height": 900})
        shown.keyboard.press(press)
        assert shown.evaluate(AUDIT) == [], (width, press)


def test_verify_again_warns_and_shows_each_step(shown: Page, answered: dict[str, Any], taught: Node) -> None:
    shown.locator("button", has_text="Verify again").click()
    expect(shown.locator("dialog")).to_contain_text("Whoever verifies reads the text")
    expect(shown.locator("dialog")).to_contain_text("Shares recomputed to the same integers")
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
    expect(page.locator(".answer").first).to_contain_text("\\u202e")
    assert page.locator("main script, main img").count() == 0
    assert "\u202e" in HOSTILE_ANSWER
    assert "\u202e" not in page.locator("main").inner_text()
