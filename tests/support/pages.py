"""The local page in a real browser: Debian's chromium, headless, driven by playwright."""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    Route,
    sync_playwright,
)

from openledger_node.cli.command_tree import PROGRAM, read_line
from openledger_node.home import Home

from .processes.nodes import operator_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--force-color-profile=srgb"),
]
TIMEOUT_MS = 30_000
KEEP_INTERVALS = """() => {
    const original = window.setInterval;
    window.intervals = [];
    window.setInterval = (run, ...rest) => { intervals.push(run); return original(run, ...rest); };
}"""
"""Makes what a page does every second callable at once."""

AUDIT = (Path(__file__).resolve().parents[1] / "web" / "audit.js").read_text()
"""Returns what people could not read, reach or name on a page."""

Change = Callable[[str, Any], None]
"""Changes an answer of the node, given its path."""

PEER = {
    "peer_id": "12D3KooWPeer", "address": "/ip4/10.0.0.1/tcp/4001", "learned_from": "mdns", "is_connected": True,
    "serves": True, "adapters": ["harbour"], "wallet": "0x" + "11" * 20, "generation": None, "has_our_base": True,
    "price_wei": "5000000000000000", "tokens_per_s": 20, "slots_free": 1, "advertised": None, "path": "direct",
    "relays": [], "seller": None,
}  # fmt: skip
"""A peer, as a node on a network tells of it."""

ON_A_NETWORK = {"chain": "ok", "network": "lake-1", "peer_id": "12D3KooWme", "peers": 1}
"""Facts of such a node's status."""

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass
class Seen:
    """What a page did that nobody looked at: its complaints, and whom it asked."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    is_forgiven: bool = False  # a test that breaks something on purpose hears complaints

    def watch(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            is_about_file = message.text.startswith("Failed to load")
            self.complaints.append(f"{message.text} {message.location['url']}" if is_about_file else message.text)

    def _note(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).hostname or "")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless chromium that phones nobody."""
    with sync_playwright() as playwright:
        yield launch(playwright)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, headless=True)


def link_of(home: Home) -> str:
    """A link that opens the page once, as `openledger-node open` prints it."""
    with operator_of(home) as operator:
        return str(operator.post("/open").json()["url"])


def let_in(client: httpx.Client, home: Home) -> str:
    """Open a link as a browser does, as far as HTTP goes: the client keeps the cookie. Returns the page's token."""
    answer = client.get(link_of(home))
    assert answer.status_code == 303
    return answer.headers["Location"].removeprefix("/#t=")


def open_context(browser: Browser, *, width: int = 1280, height: int = 900, scheme: str = "light") -> BrowserContext:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]  # one of three words
        reduced_motion="reduce",
    )
    context.set_default_timeout(TIMEOUT_MS)
    return context


def enter(page: Page, home: Home, screen: str = "home") -> None:
    """Let the page's browser in and show one screen, once it has heard how the node is."""
    page.goto(link_of(home))
    page.locator("#bar .state[data-tone]").wait_for()
    show(page, screen)


def show(page: Page, screen: str) -> None:
    page.evaluate("(screen) => { location.hash = `#/${screen}`; }", screen)
    page.locator(f'#nav a[href="#/{screen}"][aria-current="page"]').wait_for(state="attached")


def draw_again(page: Page) -> None:
    """Have the page do at once what it does every second."""
    page.evaluate("() => intervals.forEach((run) => run())")


def is_command(line: str) -> bool:
    """True if a line that the page prints is a command that exists, with options that it has."""
    program, *words = shlex.split(line)
    typed = read_line(words)
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return (
        program == PROGRAM
        and not (typed.command.commands and typed.arguments)
        and all(typed.command.option(name) or name == "--help" for name in options)
    )


def change_answers(page: Page, change: Change) -> None:
    """Change the answers about money and the node's state; its stream is cut, so that the page asks for them."""

    def answer(route: Route) -> None:
        path = route.request.url.split("/operator")[1].split("?")[0]
        if path == "/events":
            route.fulfill(status=204)
            return
        response = route.fetch()
        content = response.json()
        change(path, content)
        route.fulfill(response=response, body=json.dumps(content))

    page.context.route("**/operator/**", answer)
    page.reload()
    page.locator("#bar .state[data-tone]").wait_for()


def answer_with_peers(page: Page, *peers: dict[str, Any]) -> None:
    """Have the page hear of these peers."""
    answer = {"peer_id": ON_A_NETWORK["peer_id"], "peers": peers}
    page.route("**/operator/money/peers", lambda route: route.fulfill(json=answer))
