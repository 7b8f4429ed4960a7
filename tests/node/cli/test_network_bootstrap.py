"""`network bootstrap`: as a process with its signals, metrics and identity, and what it refuses to begin with."""

import logging
import signal
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest
from node.cli.verbs import Run
from node.p2p.bootstrap_node import BootstrapNode, start_bootstrap
from support.processes.living_peer import LivingPeer
from support.processes.nodes import wait_for
from support.rows import network_named

from openledger_node.demo.processes import DemoError
from openledger_node.home import Home
from openledger_node.network_file import write_network
from openledger_node.p2p.relay_places import CIRCUITS_MAX, RESERVATIONS_MAX

NET = "test-net"
LISTEN = ("/ip4/127.0.0.1/tcp/0",)
PEER = "12D3KooWAJwj2wh9tZBVjUpgBNpqwPzNRyyiq6oSccwJAUgsspBY"


@pytest.fixture(autouse=True)
def own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command does to the log of this process ends with the test."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for logger in (logging.getLogger(), logging.getLogger("openledger_node")):
        monkeypatch.setattr(logger, "level", logger.level)


def metrics_of(node: BootstrapNode) -> dict[str, float]:
    with urlopen(node.told["metrics"], timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


@pytest.mark.process
def test_it_serves_peers_shows_them_in_metrics_and_keeps_its_identity_for_one_process(tmp_path: Path) -> None:
    with start_bootstrap(tmp_path / "point", network=NET, listen=LISTEN, metrics="127.0.0.1:0") as node:
        first = node.peer_id
        assert (node.told["schema"], node.told["network"]) == ("openledger.bootstrap/1", NET)
        assert node.told["limits"]["reservations"] == RESERVATIONS_MAX
        assert node.told["advice"].startswith("only this machine can dial these addresses")
        assert "openledger_bootstrap_reached" not in metrics_of(node)
        with LivingPeer(tmp_path / "ada", NET, bootstrap=node.addresses) as ada:
            assert ada.told
            wait_for(lambda: metrics_of(node)["openledger_bootstrap_registrations"] == 1)
            shown = metrics_of(node)
            assert shown['openledger_bootstrap_connections{kind="inbound"}'] == 1
            assert shown["openledger_bootstrap_reached"] == 1
            assert shown["openledger_bootstrap_circuits_max"] == CIRCUITS_MAX
            wait_for(lambda: "INFO others reach this node: 1 peer dialled in from this machine" in node.log())
        with pytest.raises(DemoError, match="another bootstrap node uses the identity"):
            start_bootstrap(tmp_path / "point", network=NET, listen=LISTEN)
        assert node.signal(signal.SIGTERM) == 0
        assert "since the start" in node.log()[-1]
    with start_bootstrap(tmp_path / "point", network=NET, listen=LISTEN) as again:
        assert again.peer_id == first


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "no network": ([], 3, "this node is on no network: name one with --network ID, or --network FILE"),
    "a name that is none": (["--network", "a b"], 3, "neither the id of a network nor a file"),
    "every interface": (["--network", NET, "--listen", "/ip4/0.0.0.0/tcp/4001"], 3, "one interface"),
    "a bootstrap node without a peer id": (
        ["--network", NET, "--bootstrap", "/ip4/8.8.8.8/tcp/1"],
        6,
        "names no peer",
    ),
    "a relay that carries too little": (
        ["--network", NET, "--relay-bytes-per-s", "1000"],
        3,
        "--relay-bytes-per-s is 1000: give at least 65536, or 0 for no limit",
    ),
    "metrics at a name": (["--network", NET, "--metrics", "localhost:1"], 3, "write IP and port"),
}


@pytest.mark.process
@pytest.mark.parametrize(("words", "status", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_option_is_refused(run: Run, tmp_path: Path, words: list[str], status: int, message: str) -> None:
    ran = run("network", "bootstrap", "--folder", str(tmp_path / "point"), *words)
    assert (ran.status, ran.stdout) == (status, "")
    assert message in ran.stderr


@pytest.mark.process
def test_a_taken_port_is_told_and_for_metrics_with_the_option(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["network", "bootstrap", "--folder", str(tmp_path / "point"), "--network", NET, "--listen"]
        metrics = run(*words, LISTEN[0], "--metrics", f"127.0.0.1:{port}")
        peers = run(*words, f"/ip4/127.0.0.1/tcp/{port}")
    assert (metrics.status, "--metrics none" in metrics.stderr) == (6, True)
    assert "cannot serve metrics at 127.0.0.1" in metrics.stderr
    assert (peers.status, "Address already in use" in peers.stderr) == (6, True)


def test_a_network_file_names_network_and_nodes(
    run: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openledger_node.cli import bootstrap_run

    options: list[bootstrap_run.BootstrapOptions] = []
    monkeypatch.setattr(bootstrap_run, "run_bootstrap", options.append)
    file = tmp_path / "network.json"
    network = network_named("harbour-net", chain_id=1, bootstrap=(f"/ip4/8.8.8.8/tcp/4001/p2p/{PEER}",))
    write_network(file, network)
    ran = run("network", "bootstrap", "--network", str(file), "--port", "4100", "--announce", "/ip4/9.9.9.9/tcp/1")
    assert ran.status == 0, ran.stderr
    (found,) = options
    assert (found.network, found.others) == ("harbour-net", network.bootstrap)
    assert found.folder == home.root / "bootstrap"
    assert "/ip4/127.0.0.1/tcp/4100" in found.listen
    assert all(address.endswith("/tcp/4100") for address in found.listen)
    assert str(found.metrics) == "127.0.0.1:4002"
    assert found.relay_bytes_per_s == 4 << 20
