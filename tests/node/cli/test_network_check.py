"""`network check` and `network init --public`: can strangers join, and do the bootstrap nodes answer?"""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from node.cli.verbs import Run
from support.rows import network_named

from openledger_node.cli import network_check
from openledger_node.cli.network_check import check_public, check_url, join_line, public_findings
from openledger_node.errors import ChainError, ConfigError, InputError
from openledger_node.home import Home
from openledger_node.network_file import Network, join_network, network_bytes, write_network
from openledger_node.p2p import probe
from openledger_protocol.primitives import Digest

PEER = "12D3KooWAJwj2wh9tZBVjUpgBNpqwPzNRyyiq6oSccwJAUgsspBY"
POINT = f"/ip4/8.8.8.8/tcp/4001/p2p/{PEER}"
HOSTS = {"rpc.example.org": ("9.9.9.9",), "nas": ("192.168.1.2",), "127.0.0.1": ("127.0.0.1",), "gone": ()}
NAMED = {"boot.example.org": ("8.8.8.8",), "split.example.org": ("8.8.8.8", "10.0.0.1")}
NETWORK = network_named(
    "harbour-net",
    chain_id=1,
    rpc=("https://rpc.example.org/v1",),
    genesis_hash=Digest("0x" + "1" * 64),
    bootstrap=(POINT,),
)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which names are looked up without a network."""
    monkeypatch.setattr(network_check, "hosts_of", {**HOSTS, **NAMED}.__getitem__)


def everybody(addresses: Iterable[str]) -> Collection[str]:
    return list(addresses)


def test_a_network_that_strangers_can_join_has_no_problem_and_one_of_a_lan_is_checked_as_one() -> None:
    check_public(NETWORK, probe=everybody)
    check_public(replace(NETWORK, bootstrap=(f"/dns4/boot.example.org/tcp/1/p2p/{PEER}",)), probe=everybody)
    home = replace(NETWORK, rpc=("http://127.0.0.1:8545",), bootstrap=(f"/ip4/10.0.0.1/tcp/1/p2p/{PEER}",))
    assert [each.fix for each in public_findings(home, is_public=False, probe=everybody)] == [""]
    with pytest.raises(ConfigError, match=r"nobody answers there, or another peer does\. Check that the node runs"):
        check_public(NETWORK, probe=lambda _: ())


PROBLEMS = {
    "no bootstrap node": ({"bootstrap": ()}, "nobody could find a peer. Run `openledger-node network bootstrap`"),
    "a LAN": ({"bootstrap": (f"/ip4/192.168.1.2/tcp/4001/p2p/{PEER}",)}, "the internet can't dial it"),
    "a name that is also private": (
        {"bootstrap": (f"/dns4/split.example.org/tcp/1/p2p/{PEER}",)},
        "the internet can't dial it",
    ),
    "an unknown name": ({"bootstrap": (f"/dns4/gone/tcp/1/p2p/{PEER}",)}, "gone can't be looked up"),
    "a relay": ({"bootstrap": (f"{POINT}/p2p-circuit/p2p/{PEER}",)}, "it leads over a relay"),
    "an endpoint at home": ({"rpc": ("http://127.0.0.1:8545",)}, "rpc 127.0.0.1:8545: only some machines can ask it"),
    "a name at home": ({"rpc": ("https://rpc.example.org", "https://nas")}, "rpc nas: only some machines can ask it"),
    "plain HTTP": ({"rpc": ("http://rpc.example.org",)}, "anybody on the way can change its answers"),
    "a password": ({"rpc": ("https://ada:secret@rpc.example.org",)}, "it carries a user name"),
}


@pytest.mark.parametrize(("changes", "message"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_what_would_keep_strangers_out_is_told(changes: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        check_public(replace(NETWORK, **changes), probe=everybody)  # type: ignore[arg-type]
    assert message in str(told.value)
    assert "secret" not in str(told.value)


# ---- the command


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain with the contracts, and bootstrap nodes that answer."""
    monkeypatch.setattr(network_check, "check_chain", lambda network: None)
    monkeypatch.setattr(probe, "probe_all", everybody)


@pytest.mark.usefixtures("chain")
def test_the_hash_is_that_of_the_file_and_of_the_joined_network(run: Run, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "network.json"
    write_network(file, NETWORK)
    of_file = run("network", "check", str(file), "--public", "--json")
    assert of_file.status == 0, of_file.stderr
    assert of_file.json["sha256"] == sha256(file.read_bytes()).hexdigest()
    assert {each["part"] for each in of_file.json["findings"]} == {"chain", "rpc", "bootstrap"}
    join_network(home, NETWORK)
    assert run("network", "check", "--json").json["sha256"] == of_file.json["sha256"]
    assert of_file.json["sha256"] in run("network", "show").stdout
    file.write_text(json.dumps(json.loads(file.read_bytes())))  # the same network in other bytes is another file
    assert run("network", "check", str(file), "--json").json["sha256"] != of_file.json["sha256"]


@pytest.mark.usefixtures("chain")
def test_a_problem_with_its_remedy_ends_with_8(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Network) -> None:
        raise ChainError("no endpoint of harbour-net can be used")

    monkeypatch.setattr(network_check, "check_chain", gone)
    file = tmp_path / "network.json"
    write_network(file, NETWORK)
    ran = run("network", "check", str(file))
    assert ran.status == 8
    assert "FAIL chain     harbour-net: no endpoint of harbour-net can be used" in ran.stdout
    assert f"ok   bootstrap {POINT}: answers, and proves its peer id" in ran.stdout


@pytest.mark.usefixtures("chain")
def test_one_address_can_be_checked_alone(run: Run) -> None:
    alone = run("network", "check")
    assert (alone.status, "name a network.json, or the address of a bootstrap node" in alone.stderr) == (3, True)
    ran = run("network", "check", POINT, "--json")
    assert (ran.status, ran.json["network"], ran.json["sha256"]) == (0, None, None)
    assert run("network", "check", f"/ip4/10.0.0.1/tcp/1/p2p/{PEER}", "--public").status == 8
    nameless = run("network", "check", "/ip4/8.8.8.8/tcp/4001")
    assert nameless.status == 8
    assert "names no peer: an address ends in /p2p/<peer id>" in " ".join(nameless.stdout.split())


# ---- the line to publish


def test_the_line_to_publish_can_be_typed_and_joined_by() -> None:
    digest = sha256(network_bytes(NETWORK)).hexdigest()
    shared = "https://example.org/get?file=network.json&key=1"  # a shell would end the command at `&`
    for url, typed in ((shared, f"'{shared}'"), ("https://example.org/n.json", "https://example.org/n.json")):
        check_url(url)
        assert join_line(digest, url) == f"openledger-node network join {typed} --sha256 {digest}"
    for url in ("http://example.org/n.json", "https:///n.json", "https://a/#b", "https://[2001:db8::1/n"):
        with pytest.raises(InputError, match="`network join` takes https://"):
            check_url(url)
