"""Sessions of the page: a link lets one browser in, once, and a cookie alone may not write."""

import re
from collections.abc import Iterator

import httpx
import pytest
from support.nodes import Node
from support.pages import link_of

from openledger_node.api.session import CODE_S, CODES_MAX, SESSIONS_MAX, TOKEN_HEADER, Sessions, has_token


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def sessions(clock: Clock | None = None) -> Sessions:
    return Sessions(port=8420, now_s=clock or Clock())


# ---- the codes and cookies themselves


def test_a_code_lets_in_once() -> None:
    kept = sessions()
    code = kept.draw_code()
    assert kept.open(code) is not None
    assert kept.open(code) is None


@pytest.mark.parametrize(("age_s", "is_open"), [(CODE_S - 1, True), (CODE_S + 1, False)])
def test_a_code_is_good_for_minutes(age_s: float, is_open: bool) -> None:
    clock = Clock()
    kept = sessions(clock)
    code = kept.draw_code()
    clock.now_s += age_s
    assert (kept.open(code) is not None) is is_open


@pytest.mark.parametrize("code", ["", "guess", "x" * 100_000])
def test_a_guess_lets_nobody_in(code: str) -> None:
    kept = sessions()
    kept.draw_code()
    assert kept.open(code) is None


def test_links_and_browsers_are_bounded_and_the_oldest_go_first() -> None:
    kept = sessions()
    codes = [kept.draw_code() for _ in range(CODES_MAX + 1)]
    assert kept.open(codes[0]) is None
    first = kept.open(codes[1])
    assert first is not None
    for _ in range(SESSIONS_MAX):
        kept.open(kept.draw_code())
    assert kept.find(f"{kept.cookie_name}={first.cookie}") is None


@pytest.mark.parametrize("header", ["", "openledger-8420=guess", "openledger-8420", "a=b; c", "\x00=;=;", "x" * 9999])
def test_a_cookie_that_was_never_given_is_nobodys(header: str) -> None:
    assert sessions().find(header) is None


def test_two_nodes_on_one_machine_keep_their_cookies_apart() -> None:
    assert Sessions(port=1, now_s=Clock()).cookie_name != Sessions(port=2, now_s=Clock()).cookie_name


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
    """A browser that was let in, as far as HTTP goes."""
    with httpx.Client(base_url=node.url, timeout=30) as client:
        assert client.get(link_of(node.home)).status_code == 303
        yield client


def token_of(browser: httpx.Client) -> str:
    return str(browser.get("/session").json()["token"])


def test_the_cookie_is_out_of_scripts_reach_and_stays_on_this_site(node: Node) -> None:
    cookie = httpx.get(link_of(node.home)).headers["Set-Cookie"]
    assert re.fullmatch(r"openledger-\d+=\S+; Path=/; HttpOnly; SameSite=Strict", cookie)


def test_a_link_that_was_opened_is_refused_the_second_time(node: Node) -> None:
    link = link_of(node.home)
    assert httpx.get(link).status_code == 303
    again = httpx.get(link)
    assert again.status_code == 403
    assert "openledger-node status" in again.text
    assert "Set-Cookie" not in again.headers


def test_the_shell_loads_without_a_session_and_the_node_says_nothing(node: Node) -> None:
    assert httpx.get(f"{node.url}/").status_code == 200
    for path in ("/session", "/operator/status", "/operator/events", "/operator/jobs"):
        assert httpx.get(node.url + path).status_code == 401, path


def test_the_key_of_programs_opens_none_of_the_operators_routes(node: Node) -> None:
    assert httpx.get(f"{node.url}/operator/status", headers=node.headers).status_code == 401
    assert httpx.post(f"{node.url}/operator/stop", headers=node.headers).status_code == 401


def test_a_session_reads_and_writes_with_its_token(browser: httpx.Client, node: Node) -> None:
    assert browser.get("/operator/status").json()["state"] == node.status()["state"]
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    headers = {TOKEN_HEADER: token_of(browser)}
    assert browser.post("/v1/chat/completions", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("token", [None, "", "guess"])
def test_the_cookie_alone_writes_nothing(browser: httpx.Client, token: str | None) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token}
    for path in ("/operator/stop", "/operator/money/act", "/v1/chat/completions"):
        assert browser.post(path, json={}, headers=headers).status_code == 403, path


def test_the_token_of_another_browser_writes_nothing(browser: httpx.Client, node: Node) -> None:
    with httpx.Client(base_url=node.url) as other:
        other.get(link_of(node.home))
        answer = browser.post("/operator/stop", headers={TOKEN_HEADER: token_of(other)})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
def test_a_page_from_elsewhere_gets_nothing_with_our_cookie(browser: httpx.Client, headers: dict[str, str]) -> None:
    token = {TOKEN_HEADER: token_of(browser)}
    assert browser.get("/operator/status", headers=headers).status_code == 403
    assert browser.post("/operator/stop", headers={**headers, **token}).status_code == 403
