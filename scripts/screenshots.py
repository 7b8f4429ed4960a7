"""Write docs/pictures/page-*.png: every screen of the local page, light and dark, wide and narrow, from real nodes.

Three nodes with the fake model run on one development chain. One of them has sold answers, was paid for them, and now
loses its bids to a cheaper node. Nothing in the pictures is edited.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.pages import enter, open_browser, open_context, show  # noqa: E402  # as the tests do
from support.processes.network import network_with_sales  # noqa: E402

from openledger_node.home import Home  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
LOOKS = [(1280, "light"), (1280, "dark"), (380, "light"), (380, "dark")]
PRICE_WEI = str(62 * 10**15)
COLOURS, LONGEST_PX = 256, 3_200
SETTLED_MS = 1_500
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
{}</fontconfig>"""
IN_ITS_PLACE = """<match target="pattern"><test name="family"><string>{}</string></test>
<edit name="family" mode="assign" binding="strong"><string>Inter</string></edit></match>"""
SYSTEM = ("system-ui", "sans-serif", "sans", "DejaVu Sans")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screens", nargs="*", help="only these screens")
    parser.add_argument("--rounds", type=int, default=40, help="answers to buy meanwhile")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, network_with_sales(Path(folder), cheap_wei=PRICE_WEI) as running:
        running.buy(*(20 + 7 * n % 90 for n in range(asked.rounds)))
        with common_font():
            take_all(Home(running.a.root), asked.screens)


def take_all(home: Home, wanted: list[str] | None) -> None:
    with open_browser() as browser:
        for width, scheme in LOOKS:
            with open_context(browser, width=width, scheme=scheme) as context:
                page = context.new_page()
                enter(page, home)
                found = page.eval_on_selector_all("#nav li a", "(links) => links.map((each) => each.hash.slice(2))")
                for screen in wanted or found:
                    show(page, screen)
                    page.wait_for_timeout(SETTLED_MS)
                    file = PICTURES / f"page-{screen}-{width}-{scheme}.png"
                    page.screenshot(path=file, full_page=True, animations="disabled")
                    print(f"{file.relative_to(ROOT)}: {compress(file) // 1000} kB")


def compress(file: Path) -> int:
    """Reduce the colours, since a page has no photos, and return the size in bytes."""
    with Image.open(file) as picture:
        cut = picture.crop((0, 0, picture.width, min(picture.height, LONGEST_PX)))
        few = cut.convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
    return file.stat().st_size


@contextmanager
def common_font() -> Iterator[None]:
    """Use Inter for the system font if it is installed, so that pictures are the same on every machine."""
    lists = shutil.which("fc-list")
    if lists is None or "Inter" not in subprocess.check_output([lists, ":family=Inter"], text=True):
        yield
        return
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(FONTS.format("".join(map(IN_ITS_PLACE.format, SYSTEM))))
        file.flush()
        os.environ["FONTCONFIG_FILE"] = file.name
        yield
        del os.environ["FONTCONFIG_FILE"]


if __name__ == "__main__":
    main()
