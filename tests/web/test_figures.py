"""One truth: every figure on Home and Peers is the one that the verb prints, and what a button does is its line."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect
from support.pages import Seen, is_command, show
from support.processes.nodes import EMBEDDED, Node, command_json, operator_of, wait_for

OpenPage = Callable[..., Page]
WEI = 10**18
STAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "Earned": lambda said: said["pending_wei"],
    "Claimed": lambda said: said["total"]["under_way_wei"],
    "Final": lambda said: said["total"]["final_wei"],
    "Net": lambda said: said["net_wei"],
}
SOURCES = {"This node’s part": "node", "Stake rewards": "stake"}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe\u0007 ${1}"
LONG = "x" * 100_000  # wider than any page, and rendered dozens of times


def to_open(wei: str | int) -> str:
    """Six places, cut and never rounded up, as the page writes an amount."""
    whole, rest = divmod(abs(int(wei)), WEI)
    return f"{'−' if int(wei) < 0 else ''}{whole:,}.{rest // 10**12:06d}"


def tile(page: Page, label: str) -> str:
    box = page.locator(".tile", has=page.locator(".label", has_text=label))
    return box.locator(".value").inner_text()


# ---- the figures


def test_every_amount_of_the_earnings_is_the_verbs(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    table = page.locator("table", has_text="Earned, gross")
    table.wait_for()
    for column, since in ((2, "7d"), (3, "30d"), (4, None)):
        words = ["--since", since] if since else []
        said = command_json(earner.home, "earnings", *words, **EMBEDDED)
        for row, amount_of in STAGES.items():
            cell = table.locator("tr", has_text=row).first.locator("th, td").nth(column)
            expect(cell).to_have_text(to_open(amount_of(said)))
        lines = {line["line"]: int(line["under_way_wei"]) + int(line["final_wei"]) for line in said["lines"]}
        for row, name in SOURCES.items():
            cell = page.locator("tr", has=page.locator("th", has_text=row)).locator("th, td").nth(column)
            expect(cell.locator("span")).to_have_attribute("title", f"{lines[name]} wei")
        gas = table.locator("tr", has_text="Gas").first.locator("th, td").nth(column)
        expect(gas.locator("span")).to_have_attribute("title", f"{-int(said['gas_open_wei'])} wei")


def test_the_tiles_are_the_verbs(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    expect(page.locator(".tile .value").first).not_to_have_text("–")
    week = command_json(earner.home, "earnings", "--since", "7d", **EMBEDDED)
    usage = command_json(earner.home, "status")["usage"]
    jobs = command_json(earner.home, "jobs", "--limit", "1000")["jobs"]
    assert tile(page, "Net earned") == to_open(week["net_wei"])
    assert tile(page, "Not yet claimed") == to_open(week["pending_wei"])
    assert tile(page, "Jobs, 24 h") == str(usage["day"]["jobs"]) == str(len(jobs))
    tokens = sum(job["tokens_out"] for job in jobs)
    assert tile(page, "Tokens, 24 h") == f"{usage['day']['tokens_out']:,}" == f"{tokens:,}"
    assert tile(page, "Answered, 7 days") == f"{usage['week']['answered_percent']:.1f}%" == "100.0%"


def test_what_is_gross_says_so_and_is_added_to_nothing(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    page.context.route("**/operator/money/earnings", _with_pending)
    page.reload()
    expect(page.locator(".tile", has_text="Not yet claimed")).to_contain_text("gross, before the others’ parts")
    expect(page.locator(".tile", has_text="Not yet claimed").locator(".value")).to_have_text("5.000000")
    rows = page.locator("table", has_text="Earned, gross").locator("tr")
    expect(rows.filter(has_text="Earned, gross")).to_contain_text("before the others’ parts")
    for own in ("Claimed", "Final"):
        expect(rows.filter(has=page.locator("th", has_text=own)).first).to_contain_text("yours")
    page.set_viewport_size({"width": 380, "height": 900})
    expect(rows.filter(has_text="Earned, gross").locator("th")).to_have_text("Earned, gross", use_inner_text=True)


def _change_figures(route: Route, response: APIResponse, changes: dict[str, Any]) -> None:
    """Change figures in a report and in all its periods."""
    found = response.json()
    periods = [{**each, **changes} for each in found["periods"]]
    route.fulfill(response=response, body=json.dumps({**found, **changes, "periods": periods}))


def _with_pending(route: Route) -> None:
    response = route.fetch()
    _change_figures(route, response, {"pending_wei": str(5 * WEI), "settled_wei": str(3 * WEI)})


def test_home_asks_for_one_report_of_all_periods(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner, "peers")
    asked: list[Any] = []
    page.on("request", lambda each: asked.append(each.post_data_json) if "money/earnings" in each.url else None)
    page.reload()
    show(page, "home")
    expect(page.locator(".tile .value").first).not_to_have_text("–")
    (question,) = asked
    assert question["periods"][1:] == ["7d", "30d", None]


def test_home_has_the_node_count_and_asks_only_for_the_jobs_that_it_shows(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.route("**/operator/jobs?**", _with_many_jobs)
    page.context.route("**/operator/events", lambda route: route.fulfill(status=204))  # so that it is asked
    page.context.route("**/operator/status", _with_much_use)
    page.reload()
    rows = page.locator('table:has(caption:has-text("newest requests")) tbody tr[data-key^="row "]')
    expect(rows).to_have_count(5)
    expect(page.locator(".tile", has_text="Jobs, 24 h").locator(".value")).to_have_text("12,345")
    expect(page.locator(".tile", has_text="Jobs, 24 h")).to_contain_text("4 failed · 1 cut off")
    expect(page.locator(".tile", has_text="Answered, 7 days").locator(".value")).to_have_text("99.9%")
    assert {url.split("limit=")[1] for url in asked if "/jobs?" in url} == {"20"}
    page.locator("button", has_text="Show 50").click()
    expect(rows).to_have_count(50)
    assert {url.split("limit=")[1] for url in asked if "/jobs?" in url} == {"20", "50"}


def _with_many_jobs(route: Route) -> None:
    """The node's newest job, over and over, as many times as was asked for."""
    response = route.fetch()
    (job, *_), number = response.json()["jobs"], int(route.request.url.split("limit=")[1])
    jobs = [{**job, "request_id": f"{job['request_id']}{place}"} for place in range(number)]
    route.fulfill(response=response, body=json.dumps({"jobs": jobs}))


def _with_much_use(route: Route) -> None:
    response = route.fetch()
    status = response.json()
    status["usage"]["day"] |= {"jobs": 12_345, "failed": 4, "interrupted": 1}
    status["usage"]["week"] |= {"ended": 100_000, "answered": 99_960, "answered_percent": 99.9}
    route.fulfill(response=response, body=json.dumps(status))


def test_what_waits_stands_beside_its_screen(earner: Node, broke: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    count = page.locator("#nav a", has_text="Money").locator(".count")
    expect(count).to_have_count(0)  # a warning may still stand from the start on a busy machine, and goes away
    page.close()  # the next page has the cookie of another node
    waiting = command_json(earner.home, "status")["waiting"]
    assert (waiting["money"], waiting["governance"]) == (0, 0)
    count = open_page(broke).locator("#nav a", has_text="Money").locator(".count")
    expect(count).to_have_text(re.compile(r"[1-9]"))
    wait_for(lambda: int(count.inner_text()) == command_json(broke.home, "status")["waiting"]["money"])


def test_every_job_is_the_verbs(earner: Node, open_page: OpenPage) -> None:
    page = open_page(earner)
    jobs = command_json(earner.home, "jobs", "--limit", "5")["jobs"]
    for job in jobs:
        row = page.locator(f'tr[data-key="row {job["request_id"]}"]')
        expect(row).to_contain_text(job["received"][11:19])
        expect(row).to_contain_text(to_open(job["amount_wei"]))
        expect(row.locator("td").nth(1)).to_have_text(str(job["tokens_in"]))
        expect(row.locator("td").nth(2)).to_have_text(str(job["tokens_out"]))
        expect(row.locator("a")).to_have_attribute("href", f"#/money?receipt={job['receipt']}")


def test_the_sentence_and_every_check_are_the_verbs(among_others: Node, open_page: OpenPage) -> None:
    page = open_page(among_others)
    lost = page.locator("table", has_text="Winner").locator("tbody tr:not(.more)")

    def differences() -> list[str]:
        """What the page shows otherwise than the command, which may have asked a moment before or after it."""
        status = command_json(among_others.home, "status")
        wanted = {f'tr[data-key="row {each["check"]}"]': each["says"] for each in status["checks"]}
        wanted[".sentence"] = f"{status['why_idle'][0].upper()}{status['why_idle'][1:]}."
        wrong = [says for place, says in wanted.items() if says not in page.locator(place).inner_text()]
        return wrong + ["the lost bids"] * (lost.count() != len(status["bids_lost"]))

    wait_for(lambda: not differences(), why=lambda: f"{differences()}")


def test_every_peer_is_the_verbs(among_others: Node, open_page: OpenPage) -> None:
    page = open_page(among_others, "peers")
    found = command_json(among_others.home, "peers", "list")
    assert tile(page, "Connected") == str(sum(peer["is_connected"] for peer in found["peers"]))
    for peer in found["peers"]:
        row = page.locator(f'tr[data-key="row {peer["peer_id"]}"]')
        expect(row.locator("code").first).to_have_attribute("title", peer["peer_id"])
        if peer["price_wei"]:
            expect(row.locator(".amount").first).to_have_attribute("title", f"{peer['price_wei']} wei")


# ---- what it does


def test_the_suggested_price_is_set_by_its_button_as_by_its_line(among_others: Node, open_page: OpenPage) -> None:
    page = open_page(among_others)
    note = page.locator(".note", has=page.locator("button", has_text="Set price to"))
    line = note.locator("code").inner_text()
    with operator_of(among_others.home) as operator:
        before = operator.get("/price").json()["price_wei"]
        try:
            note.locator("button.primary").click()
            expect(page.locator(".toast")).to_contain_text("from the next bid on")
            wanted = round(float(line.split()[-1]) * WEI)
            assert abs(int(operator.get("/price").json()["price_wei"]) - wanted) <= 1
        finally:
            operator.post("/price", json={"price_wei": before}).raise_for_status()


def test_limits_are_set_as_the_line_says(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    page.locator("button", has_text="Change limits").click()
    page.locator("#limit-disk").fill("60")
    page.locator("#limit-hours").fill("00:00-23:59")
    line = "openledger-node limits set --disk 60GB --hours 00:00-23:59"
    expect(page.locator("dialog .cli code")).to_have_text(line)
    with operator_of(alone.home) as operator:
        try:
            page.locator("dialog button", has_text="Set limits").click()
            expect(page.locator("dialog")).to_have_count(0)
            assert operator.get("/limits").json()["disk_bytes"] == 60 * 10**9
            expect(page.locator("main")).to_contain_text("00:00-23:59, by this machine’s clock")
        finally:
            operator.post("/limits", json={"disk_bytes": 0, "hours": ""}).raise_for_status()


def test_a_test_of_the_alerts_says_that_there_is_no_receiver_and_how_to_set_one(
    alone: Node, open_page: OpenPage, seen: Any
) -> None:
    seen.is_forgiven = True  # the refusal
    page = open_page(alone)
    page.locator("button", has_text="Test alerts").click()
    expect(page.locator("dialog .note.bad")).to_contain_text("no receiver is set")
    expect(page.locator("dialog .note.bad code")).to_contain_text("config set alerts.ntfy_url")
    expect(page.locator("dialog .cli code")).to_have_text("openledger-node alerts test")
    page.locator("dialog button", has_text="Close").click()
    expect(page.locator("dialog")).to_have_count(0)


def test_a_test_of_the_alerts_says_for_each_receiver_what_came_back(alone: Node, open_page: OpenPage) -> None:
    page = open_page(alone)
    answers = [
        {"name": "webhook", "host": "hooks.example", "error": None},
        {"name": "ntfy", "host": "ntfy.example", "error": "ntfy.example answered with status 403: <b>run</b> `x`"},
    ]
    page.route("**/alerts/test", lambda route: route.fulfill(json={"receivers": answers}))
    page.locator("button", has_text="Test alerts").click()
    expect(page.locator("dialog .note")).to_have_text(
        ["webhook: hooks.example took it", "ntfy: ntfy.example answered with status 403: <b>run</b> x"]
    )
    expect(page.locator("dialog .note.bad")).to_have_count(1)


def test_a_limit_that_is_none_says_so_and_changes_nothing(alone: Node, open_page: OpenPage, seen: Any) -> None:
    seen.is_forgiven = True  # the refusal
    page = open_page(alone)
    page.locator("button", has_text="Change limits").click()
    page.locator("#limit-hours").fill("whenever")
    page.locator("dialog button", has_text="Set limits").click()
    expect(page.locator("dialog .note")).to_contain_text("whenever")
    page.locator("#limit-hours").fill("")
    page.locator("#limit-disk").fill("much")
    page.locator("dialog button", has_text="Set limits").click()
    expect(page.locator("dialog .note")).to_contain_text("a number of GB")


# ---- what it prints


@pytest.mark.parametrize("name", ["alone", "earner", "among_others"])
def test_every_line_that_is_printed_is_one_that_the_command_has(
    request: pytest.FixtureRequest, open_page: OpenPage, seen: Seen, name: str
) -> None:
    seen.is_forgiven = True  # the Factory may look at a Datanet of another test, which is too small to train on
    page = open_page(request.getfixturevalue(name))
    lines: set[str] = set()
    for screen in page.eval_on_selector_all("#nav li a", "(links) => links.map((each) => each.hash.slice(2))"):
        show(page, screen)
        page.locator("main .cli").first.wait_for()
        lines |= set(page.locator(".cli code").all_inner_texts())
    assert lines
    assert [line for line in sorted(lines) if not is_command(line)] == []


# ---- what others write


@pytest.mark.parametrize("text", [HOSTILE, LONG], ids=["markup", "endless"])
def test_what_peers_and_callers_write_stays_text(among_others: Node, open_page: OpenPage, text: str) -> None:
    page = open_page(among_others)
    page.context.route("**/operator/**", lambda route: _with(route, text))
    page.reload()
    page.locator("#bar .state[data-tone]").wait_for()
    for screen in ("home", "peers"):
        show(page, screen)
        page.locator("main table").first.wait_for()
        assert page.locator("main img, main script").count() == 0
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), screen
        if text is HOSTILE:
            expect(page.locator("main")).to_contain_text("<script>alert(2)</script>\\u202egnp.exe\\u0007")
            assert "\u202e" not in page.locator("main").inner_text()


def _with(route: Route, text: str) -> None:
    """The node's answer, with `text` wherever somebody else's words stand; and no stream, so that it is asked."""
    if route.request.url.endswith("/events"):
        route.fulfill(status=204)
        return
    response = route.fetch()
    answer = response.json() if response.ok else {}
    for bid in answer.get("bids_lost", []):
        bid["adapter"] = bid["reason"] = text
    for check in answer.get("checks", []):
        check["says"] = text
    for job in answer.get("jobs", []):
        job["adapter"] = text
    for peer in answer.get("peers", []) if isinstance(answer.get("peers"), list) else []:
        peer["learned_from"], peer["adapters"], peer["serves"] = text, [text], True
    route.fulfill(response=response, body=json.dumps(answer))
