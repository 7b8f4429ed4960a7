"""One wallet in every role on a real chain: each figure on Home and on Money is the contracts', to the wei."""

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from support.processes.lived_wallet import LivedWallet, open_lived_wallet
from support.processes.nodes import Node

OpenPage = Callable[..., Page]
PAID_FOR: Final = {
    "This node’s part": "node",
    "Royalties": "royalty",
    "Datanets, as owner": "datanet_owner",
    "Rows, as contributor": "contributor",
    "Datanet treasury": "treasury",
    "Stake rewards": "stake",
}
COSTS: Final = {"Spent": "spent", "Lost": "lost"}
LOCKED: Final = {
    "Stake": "staked",
    "Bonds of adapters": "adapter bonds",
    "Bonds at Datanets": "bonds",
    "Deposits of channels": "channel deposits",
}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivedWallet]:
    with open_lived_wallet("evm-devnet", tmp_path_factory.mktemp("lived")) as opened:
        yield opened


@pytest.fixture(scope="module")
def node(lived: LivedWallet) -> Iterator[Node]:
    with lived.running() as running:
        yield running


def check_row(page: Page, table: str, label: str, wei: int) -> None:
    """Require an amount in the last cell of a row that has one."""
    row = page.locator("table", has=page.locator("caption", has_text=table)).locator(
        "tr", has=page.locator("th", has_text=label)
    )
    expect(row.first.locator(".amount").last).to_have_attribute("title", f"{wei} wei")


def test_home_and_money_show_the_contracts_figures(lived: LivedWallet, node: Node, open_page: OpenPage) -> None:
    figures = lived.figures
    page = open_page(node, "home")
    for label, name in PAID_FOR.items():
        check_row(page, "Claimed and final, by what they were paid for", label, figures[name])
    for label, name in COSTS.items():
        check_row(page, "Earnings by how far they have come", label, -figures[name])
    page = open_page(node, "money")
    credited = figures["withdrawn"] + figures["balance"]
    for column, wei in enumerate((credited, figures["withdrawn"], figures["balance"])):
        row = page.locator("table", has_text="Credited for").locator("tr", has_text="Claims")
        expect(row.locator(".amount").nth(column)).to_have_attribute("title", f"{wei} wei")
    for label, name in LOCKED.items():
        check_row(page, "Your own OPEN in contracts", label, figures[name])
