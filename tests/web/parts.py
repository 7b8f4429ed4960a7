"""Parts of the page that the tests of several screens look at and use."""

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

OpenPage = Callable[..., Page]
LONG_MS = 60_000
OPEN_WEI = 10**18


def amount(wei: str | int) -> str:
    """Six places, cut and never rounded up."""
    whole, rest = divmod(int(wei), OPEN_WEI)
    return f"{whole:,}.{rest:018d}"[: len(f"{whole:,}") + 7]


def panel(page: Page, title: str) -> Locator:
    return page.locator(".panel").filter(has=page.locator("h2", has_text=title))


def tile(page: Page, label: str) -> Locator:
    return page.locator(".tile", has=page.locator(f'.label:has-text("{label}")'))


def carry_out(page: Page, does: str = "") -> None:
    """Send the transactions of the open dialog by its button, wait for their block, and close it."""
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("Gas, at most", timeout=LONG_MS)
    dialog.locator("button.primary", has_text=does).click()
    expect(dialog.locator(".chip").first).to_contain_text(re.compile("mined|final"), timeout=LONG_MS)
    dialog.locator("button", has_text="Close").click()
    expect(dialog).to_have_count(0)
