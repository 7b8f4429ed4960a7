"""Who taught an answer comes with the adapter's column, stays, and is saved as a file that opens without a node."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from support.commands import run_command
from support.processes.nodes import Node, command_json, node_environment
from support.processes.taught import ANSWER, HOSTILE_ANSWER, NAME, UNBONDED, buy_as_guest
from web.parts import OpenPage

LOOK_UP = """() => import('/lib/conversation.js').then(({ conversation, answersOf, lookUp }) =>
  lookUp(answersOf(conversation.turns.at(-1)).at(-1)))"""
PEOPLE_PAID = ("marisol-k", "nadia-roofs", "oke-solar", "tjark.pv")
STEPS = ("deposit", "voucher", "receipt", "claim", "payout list", "draw", "withdrawal")
PEOPLE = ".taught table tbody tr"


@pytest.fixture
def asked(taught: Node, open_page: OpenPage) -> Page:
    """A chat whose adapter has answered with words of rows, while the base still writes."""
    page = open_page(taught, "chat", is_own=True)
    expect(page.locator("#adapter")).to_have_value(NAME)
    page.route("**/v1/chat/completions", lambda route: None)  # the base's; the guest asks elsewhere
    page.route("**/operator/guest", say_the_answer)
    page.locator("#question").fill("What do I check first?")
    page.locator("#question").press("Enter")
    page.locator(".answer.adapter .mark").first.wait_for()
    return page


def say_the_answer(route: Route) -> None:
    schema = {"name": "words", "schema": {"type": "string", "const": ANSWER}}
    body = {**route.request.post_data_json, "max_tokens": 1_000, "temperature": 0}
    body["response_format"] = {"type": "json_schema", "json_schema": schema}
    route.continue_(post_data=json.dumps(body))


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.eval_on_selector_all(selector, "(all) => all.map((each) => each.textContent)")
    return found


def test_no_figure_changes_in_an_open_tab_when_the_text_goes(asked: Page) -> None:
    expect(asked.locator(PEOPLE)).not_to_have_count(0)  # they come behind the marks
    before = texts(asked, PEOPLE), texts(asked, ".answer.adapter .mark"), texts(asked, ".person.row")
    assert all(before)
    answers: list[dict[str, Any]] = []

    def without_text(route: Route) -> None:
        found = route.fetch().json()
        teaching = found["teaching"] | {"rows": [], "spans": [], "question_spans": []}
        teaching |= {"tokens": None, "tokens_matched": None, "why_no_rows": "its text was deleted here"}
        teaching["people"] = [{**each, "rows": None} for each in teaching["people"]]
        text = {"state": "gone", "until": None, "since": "", "says": "its text was deleted here at noon"}
        answers.append(found | {"teaching": teaching, "text": text, "answer": None, "question": None})
        route.fulfill(json=answers[-1])

    asked.route("**/operator/money/receipt", without_text)
    asked.evaluate(LOOK_UP)
    expect(asked.locator(".taught")).to_contain_text("deleted here at noon")
    assert answers
    assert before == (texts(asked, PEOPLE), texts(asked, ".answer.adapter .mark"), texts(asked, ".person.row"))
    asked.locator("[data-key=send]").click()


def test_the_page_saves_the_file_that_the_command_saves(taught: Node, open_page: OpenPage, tmp_path: Path) -> None:
    digest = buy_as_guest(taught.home, ANSWER)["digest"]
    page = open_page(taught, "home")
    page.evaluate("(digest) => { location.hash = `#/chat?receipt=${digest}`; }", digest)
    expect(page.locator(".question")).to_contain_text("The inverter shows an isolation fault")
    with page.expect_download() as waiting:
        page.locator("button", has_text="Save as a file").click()
    assert waiting.value.suggested_filename == f"answer-{digest[2:12]}.html"
    waiting.value.save_as(tmp_path / "page.html")
    file = tmp_path / "command.html"
    saved = command_json(taught.home, "attribution", "show", digest, "--html", str(file), **UNBONDED)
    assert (saved["digest"], saved["size_bytes"]) == (digest, file.stat().st_size)
    assert file.read_text() == (tmp_path / "page.html").read_text()
    with pytest.raises(subprocess.CalledProcessError):  # it overwrites no file
        command_json(taught.home, "attribution", "show", digest, "--html", str(file), **UNBONDED)


def test_a_terminal_names_people_and_their_words_follows_the_money_and_has_the_base_answer_beside(
    taught: Node,
) -> None:
    def run(*words: str) -> str:
        ran = run_command(*words, env=node_environment(taught.home, COLUMNS="200", **UNBONDED))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    digest = buy_as_guest(taught.home, ANSWER)["digest"]
    shown = run("attribution", "show", digest[:14])
    assert all(name in shown for name in PEOPLE_PAID)
    assert "of its tokens match rows word for word" in shown
    assert "“Start with the string that faces east: it wakes first and trips first”" in shown
    followed = run("attribution", "show", digest[:14], "--follow")
    places = [followed.index(f" {step} ") for step in STEPS]
    assert places == sorted(places)
    assert "Datanet contributors  18.0000 %" in followed
    assert "register an adapter under a bond of 10 OPEN" in run("wallet", "history")
    both = run("chat", "hello", "--base-too", NAME, "--max-tokens", "10")
    assert both.index("fake alone (") < both.index(f"{NAME} (")


@pytest.mark.parametrize("text", [ANSWER, HOSTILE_ANSWER], ids=["answer", "hostile"])
def test_a_saved_answer_opens_without_a_node_script_or_connection(
    taught: Node, browser: Browser, tmp_path: Path, text: str
) -> None:
    digest, file = buy_as_guest(taught.home, text)["digest"], tmp_path / "answer.html"
    command_json(taught.home, "attribution", "show", digest, "--html", str(file), **UNBONDED)
    for width, scheme in ((1280, "light"), (380, "dark"), (320, "light")):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=True, offline=True
        )
        page = context.new_page()
        said: list[str] = []
        asked_for: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("dialog", lambda dialog, said=said: said.append(dialog.message))
        page.on("request", lambda request, asked_for=asked_for: asked_for.append(request.url))
        page.goto(file.as_uri())
        assert asked_for == [file.as_uri()]
        assert said == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate("() => getComputedStyle(document.querySelector('.answer')).whiteSpace") == "pre-wrap"
        assert page.locator("mark").count() > 1
        assert page.evaluate("() => document.querySelectorAll('script, img').length") == 0
        page.locator(".answer mark a").first.click()
        assert page.locator("li:target mark").count() >= 1
        context.close()
