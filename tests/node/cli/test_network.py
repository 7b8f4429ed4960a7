"""`network`: contracts deployed, a network.json checked against its chain, and joined."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from node.cli.verbs import Run
from support.chain_world.deployed import deploy_token, send_call
from support.chain_world.ways import served, served_chain
from support.file_site import serve_site

from openledger_node.chain.clients.evm import HttpEndpoint, open_client
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import BANK, DEVELOPMENT_WINDOWS
from openledger_node.cli.network_init import REAL_VOTING, REAL_WINDOWS
from openledger_node.home import Home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.network_file import AUTO, CONTRACTS, Network, current_network, read_network
from openledger_protocol.chain import ContractCall, TransactionReceipt
from openledger_protocol.primitives import Address, Digest, Wei
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import GasPrice, Intent, Variant

STRANGER = "0x" + "9" * 40


class MinesAlone:
    """A client of a chain that mines each transaction as it comes."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def mine(self) -> None:
        """Nothing is left to mine."""


REAL_KEY = bytes([7] * 32)


@pytest.fixture(scope="module")
def rpc() -> Iterator[str]:
    with served_chain() as url:
        yield url


@pytest.fixture(scope="module")
def made(rpc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network.json that the verb wrote."""
    return tmp_path_factory.mktemp("made") / "network.json"


@pytest.fixture
def network_file(run: Run, rpc: str, made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil; the contracts are deployed once."""
    if not made.exists():
        ran = run("network", "init", "--rpc", rpc, "--out", str(made))
        assert ran.status == 0, ran.stderr
    copy = tmp_path / "network.json"
    copy.write_text(made.read_text())
    return copy


def nonce_of_bank(rpc: str) -> int:
    with closing(open_client(rpc)) as client:
        return client.nonce(BANK)


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


# ── init ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_development_network_is_made(run: Run, rpc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openledger_node.cli.network_init.check_public", lambda _: None)
    out, url = tmp_path / "network.json", "https://example.org/network.json"
    words = ("network", "init", "--rpc", rpc, "--out", str(out), "--public", "--url", url, "--json")
    ran = run(*words)
    assert ran.status == 0, ran.stderr
    digest = sha256(out.read_bytes()).hexdigest()
    assert ran.json == json.loads(out.read_text()) | {"join": f"openledger-node network join {url} --sha256 {digest}"}
    network = read_network(out)
    assert (network.is_development, network.network) == (True, f"development-{network.genesis_hash[2:10]}")
    assert (network.rpc, network.bootstrap, set(network.contracts)) == ((rpc,), (), set(CONTRACTS))
    assert out.stat().st_mode & 0o777 == 0o600
    assert windows_of(network, rpc)["unbonding"] == DEVELOPMENT_WINDOWS.unbonding_s
    again = run(*words)
    assert again.status == 3
    assert "exists already, and a network is never overwritten" in again.stderr
    assert sha256(out.read_bytes()).hexdigest() == digest


def windows_of(network: Network, rpc: str) -> Any:
    params = load_contract("Params")
    call = ContractCall(to=network.contracts["Params"], data=params.encode("windows"))
    with closing(open_client(rpc)) as client:
        return params.decode_result("windows", client.call(call))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--rpc", "http://127.0.0.1:1"], 5, "the endpoint at 127.0.0.1:1 does not answer"),
        (["--rpc", "RPC", "--rpc", "file:///etc/passwd"], 3, "'file:///etc/passwd' is not the URL of an endpoint"),
        (["--rpc", "RPC", "--bootstrap", "example.org"], 3, "bootstrap: 'example.org' is not the address of a peer"),
        (["--rpc", "RPC", "--public"], 3, "only some machines can ask it"),
        (["--rpc", "RPC", "--url", "https://example.org/n.json"], 2, "--url goes with --public"),
        (["--rpc", "RPC", "--out", "/nowhere/network.json"], 3, "cannot write to /nowhere, so nothing is deployed"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_deployed(
    run: Run, rpc: str, tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    with_url = [rpc if word == "RPC" else word for word in words]
    nonce = nonce_of_bank(rpc)
    ran = run("network", "init", "--out", str(tmp_path / "network.json"), *with_url)
    assert (ran.status, ran.stdout) == (status, "")
    assert message in ran.stderr
    assert nonce_of_bank(rpc) == nonce
    assert not (tmp_path / "network.json").exists()


def test_a_chain_whose_contracts_see_the_blocks_of_another_is_refused(
    run: Run, home: Home, rpc: str, network_file: Path, tmp_path: Path
) -> None:
    endpoint = HttpEndpoint(rpc, timeout_s=10.0)

    def answer(method: str, params: list[Any]) -> object:
        is_creation = method == "eth_call" and "to" not in params[0]
        return "0x" + f"{24_000_000:064x}" + 64 * "1" if is_creation else endpoint.ask(method, params)

    with served(answer) as url, closing(endpoint):
        nonce = nonce_of_bank(rpc)
        made = run("network", "init", "--rpc", url, "--out", str(tmp_path / "n.json"))
        change(network_file, rpc=[url])
        joined = run("network", "join", str(network_file), "--yes")
    for ran in (made, joined):
        assert (ran.status, ran.stdout) == (5, "")
        assert "contracts on this chain see block 24000000 where its endpoint shows block" in ran.stderr
    assert (nonce_of_bank(rpc), current_network(home, AUTO)) == (nonce, None)


def test_a_chain_with_fast_blocks_leaves_little_time_and_that_is_told(
    run: Run, real_rpc: str, tmp_path: Path, rich: list[str]
) -> None:
    words = ["--rpc", real_rpc, "--out", str(tmp_path / "n.json"), "--name", "fast", "--guardian", STRANGER, *rich]
    assert "256 blocks of this chain last " in run("network", "init", *words).stderr


def test_a_wallet_without_coins_deploys_nothing(run: Run, rpc: str, tmp_path: Path, password_file: str) -> None:
    flags = ["--password-file", password_file]
    address = run("wallet", "create", "poor", *flags, "--json").json["address"]
    ran = run("network", "init", "--rpc", rpc, "--out", str(tmp_path / "n.json"), "--key", "poor", *flags)
    assert (ran.status, f"{address} has 0 coins: send it" in ran.stderr) == (5, True)


@pytest.fixture(scope="module")
def real_rpc() -> Iterator[str]:
    """A chain on which nobody gives coins away: the bank has sent them to the account of REAL_KEY."""
    with served_chain(seed=b"\1" * 32) as url, closing(open_client(url)) as client:
        send_call(client, ContractCall(to=address_of(REAL_KEY), value_wei=Wei(9_000 * 10**18)))
        yield url


@pytest.fixture
def rich(run: Run, tmp_path: Path, password_file: str) -> list[str]:
    """Flags that name a wallet with coins on the real chain."""
    (tmp_path / "key").write_text(REAL_KEY.hex())
    (tmp_path / "key").chmod(0o600)
    run("wallet", "import", "rich", "--key-file", str(tmp_path / "key"), "--password-file", password_file)
    return ["--key", "rich", "--password-file", password_file]


def test_a_real_network_is_made_by_a_named_wallet(run: Run, real_rpc: str, tmp_path: Path, rich: list[str]) -> None:
    out = tmp_path / "network.json"
    words = ["network", "init", "--rpc", real_rpc, "--out", str(out), "--name", "harbour-net", *rich]
    words += ["--guardian", STRANGER]
    assert "what is a coin of this chain worth?" in run(*words).stderr
    assert "worth something" in run(*words, "--coin-price", "0").stderr
    words += ["--coin-price", "2500.5"]
    asked = run(*words)
    assert asked.status == 3
    assert "no terminal to ask at: deploy harbour-net? Give --yes to confirm" in asked.stderr
    ran = run(*words, "--yes")
    assert ran.status == 0, ran.stderr
    network = read_network(out)
    assert (network.network, network.is_development) == ("harbour-net", False)
    assert network.coin_price
    assert network.coin_price.open_wei == 2500 * 10**18 + 5 * 10**17
    assert timedelta(0) <= datetime.now(UTC).date() - network.coin_price.on <= timedelta(days=1)
    assert "one coin is taken to be worth 2,500.5 OPEN" in ran.stderr
    assert windows_of(network, real_rpc)["unbonding"] == 16 * 86_400


def test_a_real_network_needs_a_name_and_a_guardian(run: Run, real_rpc: str, tmp_path: Path, rich: list[str]) -> None:
    words = ["network", "init", "--rpc", real_rpc, "--out", str(tmp_path / "n.json"), *rich, "--yes"]
    words += ["--coin-price", "1"]
    for flags, says in (
        (["--name", "harbour-net", "--guardian", address_of(REAL_KEY)], "name another account, best a multisig"),
        (["--name", "local"], "network can't be 'local'"),
        (["--name", "../keys"], "network: not a name"),
    ):
        ran = run(*words, *flags)
        assert (ran.status, ran.stdout, says in ran.stderr) == (3, "", True), ran.stderr


def test_the_windows_of_a_real_network_leave_time_for_every_vote() -> None:
    windows, voting = REAL_WINDOWS, REAL_VOTING
    assert windows.unbonding_s >= 2 * windows.propose_s + windows.window_s
    longest_s = voting.delay_s + voting.period_s + voting.period_s // 3 + voting.timelock_s
    assert windows.unbonding_s >= longest_s + windows.slash_gap_s


def test_a_network_can_pay_in_a_token_that_exists_and_has_no_holder(run: Run, rpc: str, tmp_path: Path) -> None:
    out = tmp_path / "network.json"
    flags = ["network", "init", "--rpc", rpc, "--out", str(out), "--quorum-votes", "50", "--token"]
    with closing(open_client(rpc)) as client:
        token = deploy_token(MinesAlone(client))
    nonce = nonce_of_bank(rpc)
    assert "is not an ERC-20 token on this chain" in run(*flags, STRANGER).stderr
    assert "--holder is for OPEN that is created" in run(*flags, token, "--holder", STRANGER).stderr
    assert "how many votes decide?" in run(*flags[:-3], "--token", token).stderr
    assert "a quorum of 0 votes" in run(*flags[:-1], "--quorum-votes", "0").stderr
    assert (nonce_of_bank(rpc), out.exists()) == (nonce, False)
    ran = run(*flags, token)
    assert ran.status == 0, ran.stderr
    network = read_network(out)
    assert (network.contracts["OpenToken"], network.token.symbol) == (token, "BLK")
    assert set(network.contracts) == {*CONTRACTS, "WrappedVotes"}
    assert "pays in BLK, whose payments need an approval each" in ran.stderr


# ── join ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_network_is_joined_and_shown_as_others_join_by_it(
    run: Run, home: Home, network_file: Path, rpc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = run("network", "join", str(network_file))
    assert (asked.status, "Give --yes" in asked.stderr) == (3, True)
    assert current_network(home, AUTO) is None
    change(network_file, rpc=["http://127.0.0.1:1", rpc])  # an endpoint that is down is passed over
    network = read_network(network_file)
    ran = run("network", "join", str(network_file), "--yes")
    assert ran.status == 0
    assert f"this node joins {network.network} at its next start" in ran.stderr
    assert all(f"{name:<18} {address}" in ran.stdout for name, address in network.contracts.items())
    assert current_network(home, AUTO) == network
    worth = f"{network.network} (development: coins are worth nothing, keys are throwaway)"
    assert worth in run("network", "show").stdout
    again = run("network", "join", str(network_file), "--yes", "--json")
    assert (again.status, again.stderr, again.json) == (0, "", json.loads(network_file.read_text()))
    (tmp_path / "shared.json").write_text(run("network", "show", "--json").stdout)
    assert read_network(tmp_path / "shared.json") == network
    monkeypatch.setenv("OPENLEDGER_NODE_NETWORK", "local")
    against = run("network", "join", str(network_file), "--yes")
    assert "but [node] network is local: set it to auto" in against.stderr
    assert "[node] network is 'local': this node serves only this machine" in run("network", "show").stderr


MISFITS: dict[str, tuple[dict[str, Any], int, str]] = {
    "chain id": ({"chain_id": 1}, 5, "is on chain 1337, not on 1"),
    "endpoint": ({"rpc": ["http://127.0.0.1:1"]}, 5, "the endpoint at 127.0.0.1:1 does not answer"),
    "field": ({"network": "../../keys"}, 3, "network: not a name: '../../keys'"),
}


@pytest.mark.parametrize(("changes", "status", "message"), MISFITS.values(), ids=MISFITS.keys())
def test_a_network_that_does_not_fit_its_chain_is_not_joined(
    run: Run, home: Home, network_file: Path, changes: dict[str, Any], status: int, message: str
) -> None:
    change(network_file, **changes)
    before = sorted(home.root.rglob("*"))
    ran = run("network", "join", str(network_file), "--yes")
    assert (ran.status, ran.stdout) == (status, "")
    assert message in ran.stderr
    assert sorted(home.root.rglob("*")) == before


def test_a_network_is_joined_by_its_address_on_the_web_and_its_hash(run: Run, home: Home, network_file: Path) -> None:
    digest = sha256(network_file.read_bytes()).hexdigest()
    with serve_site() as web:
        web.files["/network.json"] = network_file.read_bytes()
        url = f"{web.url}/network.json"
        other = run("network", "join", url, "--sha256", "0" * 64, "--yes")
        assert (other.status, list(home.root.iterdir())) == (3, [])
        assert f"Its SHA-256 is {digest}" in other.stderr
        assert run("network", "join", url, "--sha256", digest, "--yes").status == 0
        gone = run("network", "join", f"{web.url}/gone.json", "--sha256", "0" * 64, "--yes")
        assert (gone.status, gone.stdout, f"cannot fetch {web.url}/gone.json" in gone.stderr) == (6, "", True)
        assert run("network", "join", url, "--yes").status == 2
    assert current_network(home, AUTO) == read_network(network_file)
    assert f"{'sha256':<18} {digest}" in run("network", "show").stdout


# ── show ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fresh_home_says_how_it_comes_to_a_network(run: Run, home: Home) -> None:
    ran = run("network", "show", "--json")
    assert (ran.status, ran.stdout, list(home.root.iterdir())) == (3, "", [])
    assert "`openledger-node start` creates a development network" in ran.stderr


# ---- forgive


def fail(home: Home, rpc: str, kind: str, times: int) -> None:
    """Write into the ledger that transactions of a kind were mined, cost gas and failed, all in the first block."""
    network = current_network(home, AUTO)
    assert network is not None
    with closing(open_client(rpc)) as client, closing(open_ledger(home.ledger(network.network))) as ledger:
        block = client.block(1)
        assert block is not None
        place = {"block_number": block.number, "block_hash": block.hash}
        cost = {"gas_used": 1, "gas_price_wei": Wei(1)}
        for number in range(times):
            call = ContractCall(to=Address(STRANGER))
            intent = Intent(key=f"{kind}:{number}", kind=kind, summary=kind, sender=Address(STRANGER), call=call)
            row = ledger.outbox.add(intent)
            ledger.outbox.reserve(row.id, nonce=row.id, gas_limit=1)
            name = Digest(f"0x{row.id:064x}")
            price = GasPrice(fee_max_wei=Wei(1), tip_max_wei=Wei(1))
            ledger.outbox.store(row.id, Variant(hash=name, raw=b"", price=price))
            receipt = TransactionReceipt(transaction_hash=name, is_ok=False, **place, **cost)  # type: ignore[arg-type]
            ledger.outbox.mark_mined(row.id, receipt, mined_s=block.timestamp_s, error="refused")
            ledger.outbox.finish(row.id)


def test_the_failures_of_a_kind_are_forgiven_once(run: Run, home: Home, rpc: str, network_file: Path) -> None:
    run("network", "join", str(network_file), "--yes")
    run("wallet", "create")
    fail(home, rpc, "claim", 3)
    fail(home, rpc, "propose", 1)
    forgiven = run("network", "forgive", "claim", "--yes", "--json")
    assert forgiven.status == 0, forgiven.stderr
    assert forgiven.json == {"schema": "openledger.forgiven/1", "kind": "claim", "num_forgiven": 3, "alerts": []}
    again = run("network", "forgive", "claim", "--yes")
    assert again.status == 1
    assert "counts no failure of 'claim', so there is nothing to forgive; counted are: propose (1)" in again.stderr
    assert "1 failure of propose forgiven" in run("network", "forgive", "propose", "--yes").stderr
    refused = run("network", "forgive", "clam", "--yes")
    assert (refused.status, "has no transaction of the kind 'clam'" in refused.stderr) == (1, True)
    assert "counted are: none" in refused.stderr
