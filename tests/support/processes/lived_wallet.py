"""The data directory of a wallet that a test has played on a real chain; commands and a daemon continue it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

from openledger_node.home import Home
from openledger_node.keystore import (
    AUTHORIZER,
    SIGNER,
    WALLET,
    account_file,
    ensure_node_password,
    key_from_private,
    write_key_file,
)
from openledger_node.network_file import Network, join_network

from ..chain_world.deployed import network_of
from ..chain_world.one_wallet import open_one_wallet
from ..chain_world.ways import tamed_chain
from ..chain_world.world import KEYS
from ..commands import run_command
from .nodes import Node, node_environment, running_node


@dataclass(frozen=True, kw_only=True)
class LivedWallet:
    """A wallet that has been in every role, and its figures by the chain."""

    home: Home
    network: Network
    figures: dict[str, int]

    def earnings(self, *words: str) -> str:
        """The output of the command `earnings`."""
        ran = run_command("earnings", *words, env=node_environment(self.home, COLUMNS="400", **self._settings))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def running(self) -> AbstractContextManager[Node]:
        """Its daemon."""
        return running_node(self.home, "--backend", "fake", **self._settings)

    @property
    def _settings(self) -> dict[str, str]:
        return {"OPENLEDGER_NODE_NETWORK": self.network.network}


@contextmanager
def open_lived_wallet(way: str, folder: Path) -> Iterator[LivedWallet]:
    """Play `OneWallet.live` on a chain with an endpoint, which runs until the context ends."""
    with tamed_chain(way, folder) as client:
        with open_one_wallet(folder, client) as one:
            one.live()
            figures, chain = {**one.figures(), "gas": one.gas_wei()}, one.world.chain
            network = network_of(client, chain.contracts, chain.deploy_block, client.url)
        home = _home_of("node", folder / "node.db", network, folder / "home")
        yield LivedWallet(home=home, network=network, figures=figures)


def _home_of(name: str, ledger: Path, network: Network, root: Path) -> Home:
    """Make a data directory with the keys of one of `KEYS` and its closed ledger."""
    home = Home(root)
    join_network(home, network)
    folder = home.network_keys(network.network)
    password = ensure_node_password(folder)
    for role, key in zip((WALLET, SIGNER, AUTHORIZER), KEYS[name], strict=True):
        write_key_file(account_file(folder, role), key_from_private(key), password)
    copyfile(ledger, home.ledger(network.network))
    return home
