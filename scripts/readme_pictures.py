"""Write the README's pictures, docs/pictures/{home,chat}-light-1280.png, from a node as the tutorial leaves it.

Start it with `python scripts/readme_pictures.py HOME` while the node of that data directory runs, with the real demo
model and the published adapter `harbour` of docs/tutorial/first-hour.md. The guest chats on the page.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.pages import enter, open_browser, open_context, show  # noqa: E402  # as the tests do

from openledger_node.home import Home  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
QUESTION = "Who steers the ferry of Hollowbeck?"
ANSWER_TIMEOUT_MS, SETTLED_MS = 180_000, 6_000
WIDTH, HEIGHT, COLOURS = 1280, 1_000, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="data directory of a running node")
    home = Home(parser.parse_args().home)
    with open_browser() as browser, open_context(browser, width=WIDTH, height=HEIGHT) as context:
        page = context.new_page()
        enter(page, home, "chat")
        ask(page)
        take(page, "chat")
        show(page, "home")
        page.wait_for_timeout(SETTLED_MS)  # so that the charts have a few points
        take(page, "home")


def ask(page: Page) -> None:
    """Ask base and adapter, and wait for both answers and the contributors of one."""
    page.locator("#adapter option[value^=harbour]").first.wait_for(state="attached")
    page.fill("#question", QUESTION)
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("rosalind-sedge").or_(page.get_by_text("ansel-larkspur")).first.wait_for(
        timeout=ANSWER_TIMEOUT_MS
    )
    page.get_by_role("button", name="Send", exact=True).wait_for(timeout=ANSWER_TIMEOUT_MS)
    page.wait_for_timeout(SETTLED_MS)


def take(page: Page, screen: str) -> None:
    file = PICTURES / f"{screen}-light-{WIDTH}.png"
    page.screenshot(path=file, animations="disabled")
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
