"""One truth: every figure on Home and Peers is the one that the verb prints, and what a button does is its line."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect
from support.pages import ON_A_NETWORK, PEER, Seen, answer_with_peers, change_answers, show
from support.processes.nodes import EMBEDDED, Node, command_json, operator_of, wait_for
from web.parts import OpenPage

WEI = 10**18
STAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "Earned": lambda said: said["pending_wei"],
    "Claimed": lambda said: said["total"]["under_way_wei"],
    "Final": lambda said: said["total"]["final_wei"],
    "Net": lambda said: said["net_wei"],
}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe\u0007 ${1}"


def to_open(wei: str | int) -> str:
    """Six places, cut and never rounded up, as the page writes an amount."""
    whole, rest = divmod(abs(int(wei)), WEI)
    return f"{'−' if int(wei) < 0 else ''}{whole:,}.{rest // 10**12:06d}"


def tile(page: Page, label: str) -> str:
    box = page.locator(".tile", has=page.locator(".label", has_text=label))
    return box.locator(".value").inner_text()


# ---- the figures


def test_every_figure_and_the_sentence_of_home_are_those_that_the_commands_print(
    earner: Node, open_page: OpenPage
) -> None:
    page = open_page(earner)
    check_tiles(page, earner)
    check_sentence(page, earner)
    table = page.locator("table", has_text="Earned, gross")
    table.wait_for()
    for column, since in ((2, "7d"), (3, "30d"), (4, None)):
        words = ["--since", since] if since else []
        said = command_json(earner.home, "earnings", *words, **EMBEDDED)
        for row, amount_of in STAGES.items():
            cell = table.locator("tr", has_text=row).first.locator("th, td").nth(column)
            expect(cell).to_have_text(to_open(amount_of(said)))
        gas = table.locator("tr", has_text="Gas").first.locator("th, td").nth(column)
        expect(gas.locator("span")).to_have_attribute("title", f"{-int(said['gas_open_wei'])} wei")


def check_tiles(page: Page, earner: Node) -> None:
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


def check_sentence(page: Page, earner: Node) -> None:
    def is_same() -> bool:
        """The command may have asked a moment before or after the page."""
        why: str = command_json(earner.home, "status")["why_idle"]
        return page.locator(".sentence").inner_text() == f"{why[0].upper()}{why[1:]}."

    wait_for(is_same)


# ---- what it does


def test_limits_are_set_as_the_line_says_and_one_that_is_none_changes_nothing(
    alone: Node, open_page: OpenPage, seen: Seen
) -> None:
    seen.is_forgiven = True  # the refusal
    page = open_page(alone)
    page.locator("button", has_text="Change limits").click()
    page.locator("#limit-hours").fill("whenever")
    page.locator("dialog button", has_text="Set limits").click()
    expect(page.locator("dialog .note")).to_contain_text("whenever")
    page.locator("#limit-disk").fill("much")
    page.locator("#limit-hours").fill("")
    page.locator("dialog button", has_text="Set limits").click()
    expect(page.locator("dialog .note")).to_contain_text("a number of GB")
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


# ---- what others write


def test_what_peers_and_callers_write_stays_text(earner: Node, open_page: OpenPage, seen: Seen) -> None:
    seen.is_forgiven = True  # this node is on no network and refuses some questions
    page = open_page(earner)
    answer_with_peers(page, {**PEER, "learned_from": HOSTILE, "adapters": [HOSTILE]})
    change_answers(page, _with_hostile_words)
    for screen in ("home", "peers"):
        show(page, screen)
        page.locator("main table").first.wait_for()
        assert page.locator("main img, main script").count() == 0
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), screen
        expect(page.locator("main")).to_contain_text("<script>alert(2)</script>\\u202egnp.exe\\u0007")
        assert "\u202e" not in page.locator("main").inner_text()


def _with_hostile_words(path: str, content: Any) -> None:
    """Put hostile words wherever somebody else's words stand."""
    for check in content.get("checks", []):
        check["says"] = HOSTILE
    for job in content.get("jobs", []) if path == "/jobs" else []:
        job["adapter"] = HOSTILE
    if path == "/status":
        content |= ON_A_NETWORK
