"""One wallet in every role on a real chain: its figures are the contracts', to the wei, whoever shows them."""

import json
from collections.abc import Iterator

import pytest
from support.books import check_text, figures_of_csv, figures_of_json
from support.chain_world.ways import NEEDS_ANVIL, SLOW
from support.processes.lived_wallet import LivedWallet, open_lived_wallet
from support.processes.nodes import ask

pytestmark = SLOW
WAYS = ["evm-devnet", pytest.param("anvil", marks=NEEDS_ANVIL)]


@pytest.fixture(scope="module", params=WAYS)
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivedWallet]:
    with open_lived_wallet(request.param, tmp_path_factory.mktemp("lived")) as opened:
        yield opened


def test_no_figure_is_zero_so_that_each_comparison_says_something(lived: LivedWallet) -> None:
    assert all(wei > 0 for wei in lived.figures.values()), lived.figures


def test_the_commands_figures_are_the_contracts_to_the_wei(lived: LivedWallet) -> None:
    assert figures_of_json(json.loads(lived.earnings("--json"))) == lived.figures
    assert figures_of_csv(lived.earnings("--csv")) == lived.figures
    check_text(lived.earnings(), lived.figures)


def test_what_the_page_asks_for_is_the_contracts_to_the_wei(lived: LivedWallet) -> None:
    with lived.running():
        assert figures_of_json(ask(lived.home, "earnings")) == lived.figures
