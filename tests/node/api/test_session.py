"""Sessions of the page: a link lets one browser in, once, and a cookie alone opens a stream of figures, no more."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.pages import let_in, link_of
from support.processes.nodes import Node

from openledger_node.api.page import CODE_S, CODES_MAX, SESSIONS_MAX, TOKEN_HEADER, Sessions, has_token


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def sessions(clock: Clock | None = None) -> Sessions:
    return Sessions(port=8420, now_s=clock or Clock())


# ---- the codes and cookies themselves


@pytest.mark.parametrize(("age_s", "is_open"), [(CODE_S - 1, True), (CODE_S + 1, False)])
def test_a_code_lets_in_once_within_minutes_and_a_guess_nobody(age_s: float, is_open: bool) -> None:
    clock = Clock()
    kept = sessions(clock)
    code = kept.draw_code()
    clock.now_s += age_s
    assert [kept.open(guess) for guess in ("", "guess", "x" * 100_000)] == [None] * 3
    assert (kept.open(code) is not None) is is_open
    assert kept.open(code) is None


def test_a_session_outlives_a_start_that_follows_at_once(tmp_path: Path) -> None:
    before, again, later = sessions(), sessions(), sessions()
    session = before.open(before.draw_code())
    assert session is not None
    before.keep(tmp_path / "kept.json")
    again.take_up(tmp_path / "kept.json")
    cookie = f"{before.cookie_name}={session.cookie}"
    assert again.find(cookie) == session
    later.take_up(tmp_path / "kept.json")  # a start of its owner's, for which nothing was kept
    assert later.find(cookie) is None
    for damaged in ("", "{", "[1]", '[["one"]]'):
        (tmp_path / "kept.json").write_text(damaged)
        later.take_up(tmp_path / "kept.json")
        assert ((tmp_path / "kept.json").exists(), later.find("")) == (False, None)


def test_links_and_browsers_are_bounded_and_the_oldest_go_first() -> None:
    kept = sessions()
    codes = [kept.draw_code() for _ in range(CODES_MAX + 1)]
    assert kept.open(codes[0]) is None
    first = kept.open(codes[1])
    assert first is not None
    for _ in range(SESSIONS_MAX):
        kept.open(kept.draw_code())
    assert kept.find(f"{kept.cookie_name}={first.cookie}") is None


@pytest.mark.parametrize(
    "others",
    [
        '; ;lonely; x={"a":1};{ours};;',
        'x="never closed; {ours}',
        "a b=c d; {ours}; e=f=g",
        "\xe9\x00=\xff; {ours}",
        "openledger-8420=junk; {ours}",  # set below a path of its own by somebody else
        "{ours}; openledger-8420=junk",
    ],
)
def test_cookies_of_other_programs_in_whatever_form_shut_nobody_out(others: str) -> None:
    kept = sessions()
    session = kept.open(kept.draw_code())
    assert session is not None
    assert kept.find(others.replace("{ours}", f"openledger-8420={session.cookie}")) is session
    assert kept.find(others.replace("{ours}", "openledger-8420=guess")) is None


def test_a_session_shows_neither_cookie_nor_token_in_a_log() -> None:
    kept = sessions()
    session = kept.open(kept.draw_code())
    assert session is not None
    assert session.cookie not in repr(session)
    assert session.token not in repr(session)
    assert has_token(session, session.token)
    assert not has_token(session, "")


# ---- the same at a running node


@pytest.fixture
def browser(node: Node) -> Iterator[httpx.Client]:
    """A browser that was let in, as far as HTTP goes: it has cookie and token."""
    with httpx.Client(base_url=node.url, timeout=30) as client:
        client.headers[TOKEN_HEADER] = let_in(client, node.home)
        yield client


def test_a_link_opens_once_and_gives_a_cookie_and_a_token(node: Node) -> None:
    link = link_of(node.home)
    answer = httpx.get(link)
    cookie = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"openledger-\d+=\S+; Path=/; HttpOnly; SameSite=Strict", cookie)
    before, _, behind = answer.headers["Location"].partition("#")
    assert (answer.status_code, before, answer.content) == (303, "/", b"")
    assert re.fullmatch(r"t=[\w-]{43}", behind)
    again = httpx.get(link)
    assert again.status_code == 403
    assert "openledger-node status" in again.text
    assert "Set-Cookie" not in again.headers


def test_the_stream_of_events_needs_the_cookie_alone_and_has_no_secret(browser: httpx.Client, node: Node) -> None:
    del browser.headers[TOKEN_HEADER]  # another server of this machine gets the browser's cookies, and no token
    with browser.stream("GET", "/operator/events") as events:
        assert events.status_code == 200
        said = ""
        for text in events.iter_text():
            said += text
            if "event: factory" in said and "event: state" in said:
                break
    assert node.key not in said
    assert "/open?" not in said


def test_the_token_of_another_browser_opens_nothing(browser: httpx.Client, node: Node) -> None:
    with httpx.Client(base_url=node.url) as other:
        foreign = {TOKEN_HEADER: let_in(other, node.home)}
    assert browser.post("/operator/stop", headers=foreign).status_code == 401
    assert browser.get("/operator/status", headers=foreign).status_code == 401
