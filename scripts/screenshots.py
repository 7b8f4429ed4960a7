"""Write docs/pictures/*.png: the screens of the local page that README and docs show, from real nodes.

For page-*.png three nodes with the fake model run on one development chain. They vote: one proposal was carried,
another waits for the votes of the first node. A Datanet of the first node has a version, and a batch that waits.

`--home HOME` writes {chat,home}-light-1280.png instead, while the node of that data directory runs as
docs/tutorial/first-hour.md leaves it, with the demo model and the adapter `harbour`. Nothing in them is edited.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from network.running_network import RunningNetwork, act, running_network, status_of  # noqa: E402
from support.pages import enter, open_browser, open_context, show  # noqa: E402  # as the tests do
from support.processes.nodes import ask, wait_for  # noqa: E402

from openledger_node.chain.dev.faucet import fund  # noqa: E402
from openledger_node.cli.chain import open_chain  # noqa: E402
from openledger_node.datanets.review import approve  # noqa: E402
from openledger_node.datanets.sample import draw_sample  # noqa: E402
from openledger_node.datanets.store import OwnDatanets  # noqa: E402
from openledger_node.demo.processes import OperatorHome  # noqa: E402
from openledger_node.home import Home  # noqa: E402
from openledger_protocol.datanet import Row  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, SCHEME = 1280, "light"
SHOWN = ("datanets", "governance")
"""The screens that the docs show."""

COLOURS, LONGEST_PX = 256, 3_200
SETTLED_MS, CHARTED_MS, ANSWER_TIMEOUT_MS = 1_500, 6_000, 180_000
QUESTION, HEIGHT = "Who steers the ferry of Hollowbeck?", 1_000
LOADING, LOADED_MS = "asking the chain", 60_000
"""Text that stands for figures on their way. A busy machine shows it for longer than SETTLED_MS."""

VOTES_WEI = {"a": 9_000 * 10**18, "b": 34_000_000 * 10**18, "r": 8_000_000 * 10**18}
CARRIED = {"values": {"draws": "6"}, "reason": "Six draws find a false payout list sooner, for a third more gas."}
OPEN = {
    "values": {"dataPpm": "22%"},
    "reason": "Pay the people whose rows teach the answers two points more.\n"
    "The nodes' part falls from 70 % to 68 % of a claim.",
}
VOTE_LEFT_S = 12
DATANET, MAIL = "wrenfold", "odile@ferry-of-wrenfold.org"
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
{}</fontconfig>"""
IN_ITS_PLACE = """<match target="pattern"><test name="family"><string>{}</string></test>
<edit name="family" mode="assign" binding="strong"><string>Inter</string></edit></match>"""
SYSTEM = ("system-ui", "sans-serif", "sans", "DejaVu Sans")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="data directory of a running node, for the README's pictures")
    asked = parser.parse_args()
    if asked.home:
        take_from(Home(asked.home))
        return
    with tempfile.TemporaryDirectory() as folder, running_network(Path(folder)) as running:
        begin_votes(running)
        fill_datanet(running)
        with common_font():
            take_all(running)


# ---- votes


def begin_votes(running: RunningNetwork) -> None:
    """Give the nodes votes, and have them carry a first proposal and execute it."""
    with open_chain(running.network) as client:
        for name, votes_wei in VOTES_WEI.items():
            account = status_of(getattr(running, name))["address"]
            fund(client, running.network, account, coin_wei=10**18, open_wei=votes_wei)
    for node in running.nodes:
        act(node, "gov delegate", to="self")
    wait_for(lambda: all(int(ask(node, "gov_votes")["votes_wei"]) for node in running.nodes))
    running.wait_for_blocks(2)
    propose(running.a, CARRIED)
    for node in running.nodes:
        act(node, "gov vote", proposal="1", support="for", reason="")
    wait_for(lambda: newest(running.a)["state"] == "succeeded")
    act(running.a, "gov queue", proposal="1")
    wait_for(lambda: newest(running.a)["next"] == "gov execute 1")
    act(running.a, "gov execute", proposal="1")
    wait_for(lambda: newest(running.a)["state"] == "executed")


def keep_vote_open(running: RunningNetwork) -> None:
    """Propose again unless a vote goes on for a while; B votes for it, R against, and A has not voted."""
    found = newest(running.a)
    left_s = found["votes_until_s"] - ask(running.a, "network")["chain_time_s"]
    if found["state"] == "active" and left_s > VOTE_LEFT_S:
        return
    wait_for(lambda: not newest(running.a)["is_open"])
    number = propose(running.b, OPEN)
    act(running.b, "gov vote", proposal=number, support="for", reason="our Datanets grow only if they pay")
    act(running.r, "gov vote", proposal=number, support="against", reason="")
    wait_for(lambda: newest(running.a)["against_wei"] != "0" != newest(running.a)["for_wei"])


def propose(node: OperatorHome, content: dict[str, Any]) -> str:
    """Propose, wait until voting has begun, and return the number."""
    before = ask(node, "gov_list", all=True)["num_proposals"]
    act(node, "gov propose", **content)
    wait_for(lambda: ask(node, "gov_list")["num_proposals"] > before and newest(node)["state"] == "active")
    return str(before + 1)


def newest(node: OperatorHome) -> dict[str, Any]:
    found: dict[str, Any] = ask(node, "gov_list", all=True, limit=1)["proposals"][0]
    return found


# ---- rows


def fill_datanet(running: RunningNetwork) -> None:
    """Publish a Datanet of A, and leave a batch with a copy and an e-mail address to be reviewed."""
    act(running.a, "datanet create", datanet=DATANET, licence="CC-BY-4.0", treasury=None, owner_ppm=50_000, rules=[])
    wait_for(lambda: ask(running.a, "datanet_board", datanet=DATANET)["is_registered"])
    own, sample = OwnDatanets(Home(running.a.root)), draw_sample(1)
    half = len(sample.rows) // 2
    approve(own, DATANET, own.contribute(DATANET, sample.rows[:half], sample.accounts).digest, {})
    act(running.a, "datanet publish", datanet=DATANET)
    copy = replace(sample.rows[0], contributor="wim")
    asked = Row(
        prompt="Whom do I ask about the ferry?", completion=f"Write to {MAIL} before noon.", contributor="wim"
    )
    own.contribute(DATANET, (asked, copy, *sample.rows[half:]), sample.accounts)


# ---- pictures


def take_all(running: RunningNetwork) -> None:
    with open_browser() as browser, open_context(browser, width=WIDTH, scheme=SCHEME) as context:
        page = context.new_page()
        enter(page, Home(running.a.root))
        for screen in SHOWN:
            if screen == "governance":
                keep_vote_open(running)
            show(page, screen)
            page.locator("main .panel, main .sample").first.wait_for()
            expect(page.locator("main")).not_to_contain_text(LOADING, timeout=LOADED_MS)
            page.wait_for_timeout(SETTLED_MS)
            save(page, f"page-{screen}-{WIDTH}-{SCHEME}.png", is_whole=True)


def take_from(home: Home) -> None:
    """Ask base and adapter of a running node, and take the chat and the home page."""
    with open_browser() as browser, open_context(browser, width=WIDTH, height=HEIGHT, scheme=SCHEME) as context:
        page = context.new_page()
        enter(page, home, "chat")
        page.locator("#adapter option[value^=harbour]").first.wait_for(state="attached")
        send = page.get_by_role("button", name="Send", exact=True)
        page.fill("#question", QUESTION)
        send.click()
        contributors = page.get_by_text("rosalind-sedge").or_(page.get_by_text("ansel-larkspur"))
        contributors.first.wait_for(timeout=ANSWER_TIMEOUT_MS)
        send.wait_for(timeout=ANSWER_TIMEOUT_MS)
        for screen in ("chat", "home"):
            show(page, screen)
            page.wait_for_timeout(CHARTED_MS)  # so that the charts have a few points
            save(page, f"{screen}-{SCHEME}-{WIDTH}.png", is_whole=False)


def save(page: Page, name: str, *, is_whole: bool) -> None:
    file = PICTURES / name
    page.screenshot(path=file, full_page=is_whole, animations="disabled")
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
