"""`doctor` and `status` where something is broken: quick all the same, and they say what to do."""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from node.cli.verbs import Ran, Run
from node.cli.web_server import Handler, served
from support.reaches import REACHES
from support.rows import network_named

from openledger_node.api_key import api_key_file, load_api_key
from openledger_node.errors import NodeError
from openledger_node.home import Home, claim_home
from openledger_node.ledger.ledger import open_ledger
from openledger_node.models.adapters import MANIFEST_FILE
from openledger_node.models.bases import describe_folder
from openledger_node.network_file import CoinPrice, Network, join_network
from openledger_node.operator.doctor.finding import Check, Finding, Verdict
from openledger_node.operator.doctor.run import CHECKS, examine, examine_for_doctor
from openledger_node.operator.doctor.scene import Scene
from openledger_node.operator.reach_words import reach_to_plain
from openledger_protocol.constants import LOCAL_NETWORK
from openledger_protocol.primitives import Wei

PROBLEMS = 8
PEER_ID = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"
CHAIN_ID = 4242
CHAIN_CHECKS = ("chain id", "contracts", "clock", "gas", "stake")


def network_at(url: str, *, bootstrap: tuple[str, ...] = ()) -> Network:
    return network_named("town", chain_id=CHAIN_ID, rpc=(url,), bootstrap=bootstrap)


def examined(run: Run, *words: str) -> tuple[Ran, dict[str, Any]]:
    """Run `doctor`, and return what each of its checks found."""
    ran = run("doctor", "--json", *words)
    return ran, {check["check"]: check for check in ran.json["checks"]}


@contextmanager
def listener() -> Iterator[int]:
    """A port that takes connections, and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        yield silent.getsockname()[1]


@contextmanager
def endpoint(answers: dict[str, Any]) -> Iterator[str]:
    """A JSON-RPC endpoint that gives the same answer to a method each time."""

    class Endpoint(Handler):
        def do_POST(self) -> None:
            asked = json.loads(self.body())
            calls = asked if isinstance(asked, list) else [asked]
            said = [{"jsonrpc": "2.0", "id": call["id"], "result": answers.get(call["method"])} for call in calls]
            self.answer(json.dumps(said if isinstance(asked, list) else said[0]).encode())

    with served(Endpoint) as port:
        yield f"http://127.0.0.1:{port}"


def test_another_chain_is_told_from_the_networks(run: Run, home: Home) -> None:
    late = hex(int(time.time()) + 3_600)
    block = {"number": "0x5", "hash": "0x" + "22" * 32, "parentHash": "0x" + "33" * 32, "timestamp": late}
    with endpoint({"eth_chainId": "0x1", "eth_getBlockByNumber": block, "eth_getCode": "0x"}) as url:
        join_network(home, network_at(url))
        _, checks = examined(run, "--only", "chain")
    assert "town is on 4242" in checks["chain id"]["found"]
    assert "openledger-node network join FILE" in checks["chain id"]["fix"]
    assert "no code where" in checks["contracts"]["found"]
    assert checks["clock"]["is_ok"] is False
    assert "timedatectl" in checks["clock"]["fix"]


@pytest.mark.parametrize(
    ("state", "is_ok", "found"),
    [
        ("unknown", None, "not known yet"),
        ("mapped", True, "others see it at 11.0.0.7; the router: it forwards port 4120"),
        ("relayed", None, "the router: its address 100.64.0.9 is shared"),
        ("unreachable", False, "no other node can reach this one"),
    ],
)
def test_doctor_says_how_others_reach_the_node(home: Home, state: str, is_ok: bool | None, found: str) -> None:
    (finding,) = told_by_the_node(home, "reachable", {"/status": {"reach": reach_to_plain(REACHES[state])}})
    assert (finding.is_ok, found in finding.found) == (is_ok, True)
    assert finding.fix == (REACHES[state].remedy if state in ("relayed", "unreachable") else "")


def test_a_full_disk_or_an_owners_cap_on_it_is_found(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.models / "big").mkdir(parents=True)
    (home.models / "big" / "model.safetensors").write_bytes(bytes(5_000_000))
    home.config_file.write_text("[limits]\ndisk_bytes = 1000000\n")
    _, checks = examined(run, "--only", "machine")
    assert "`openledger-node limits set --disk SIZE`" in checks["disk"]["fix"]
    refused = run("models", "pull", "OWNER/NAME")
    assert (refused.status, "limits set --disk" in refused.stderr) == (3, True)
    full = shutil.disk_usage(home.root)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    ran, checks = examined(run, "--only", "machine")
    assert (ran.status, "free some space on the disk of" in checks["disk"]["fix"]) == (PROBLEMS, True)


def test_weights_that_have_changed_are_found(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = home.models / "mine" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.with_name("config.json").write_text('{"model_type": "llama"}')
    weights.write_bytes(b"weights")
    tokenizer = {"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": []}
    weights.with_name("tokenizer.json").write_text(json.dumps(tokenizer))
    describe_folder(weights.parent)
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "mine")
    assert examined(run, "--only", "model")[1]["digest"]["is_ok"]
    weights.write_bytes(b"Weights")
    ran, checks = examined(run, "--only", "model")
    assert (ran.status, "openledger-node models pull mine" in checks["digest"]["fix"]) == (PROBLEMS, True)


@pytest.mark.parametrize(
    ("spoil", "check", "fix"),
    [
        (lambda home: home.config_file.write_text("[market]\nprice_inn_wei = 1\n"), "settings", "did you mean"),
        (lambda home: (home.keys.mkdir(mode=0o755), home.keys.chmod(0o755)), "private", "chmod -R go="),
        (lambda home: (load_api_key(home), api_key_file(home).chmod(0o644)), "api key", "chmod 600"),
        (lambda home: write(home.ledger(LOCAL_NETWORK), b"no database" * 100), "ledger", "is damaged"),
        (lambda home: write(home.adapters / "bad@12345678" / MANIFEST_FILE, b"{"), "adapters", "bad@12345678"),
        (lambda home: home.config_file.write_text('[inference]\nbase = "mine"\n'), "base", "models pull mine`"),
    ],
    ids=["unknown key", "open keys", "open api key", "ledger", "adapter", "base"],
)
def test_what_is_wrong_with_the_home_is_found(
    run: Run, home: Home, spoil: Callable[[Home], Any], check: str, fix: str
) -> None:
    spoil(home)
    ran, checks = examined(run)
    assert (ran.status, checks[check]["is_ok"]) == (PROBLEMS, False)
    assert ran.json["problems"] == sum(found["is_ok"] is False for found in checks.values())
    assert fix in checks[check]["fix"]
    assert run("adapters", "list", "--json").status in (0, 3), "one bad folder breaks no other command"


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)


def test_a_sound_home_has_no_problem(run: Run, home: Home) -> None:
    home.config_file.write_text('[inference]\nbase = "fake"\n[api]\nport = 0\n')
    load_api_key(home)
    open_ledger(home.ledger(LOCAL_NETWORK)).close()
    _, checks = examined(run)
    of_the_machine = {"disk", "load"}  # nearly full, or busy with other tests: neither is the home's fault
    assert {name for name, check in checks.items() if check["is_ok"] is False} <= of_the_machine


def test_an_old_price_of_a_coin_is_a_warning_until_the_operator_names_one(run: Run, home: Home) -> None:
    network = network_at("http://127.0.0.1:1")
    join_network(home, network)
    _, checks = examined(run, "--only", "chain")
    assert (checks["coin price"]["is_ok"], checks["coin price"]["fix"]) == (True, "")
    join_network(home, replace(network, coin_price=CoinPrice(open_wei=Wei(3_000 * 10**18), on=date(2020, 1, 31))))
    _, checks = examined(run, "--only", "chain")
    assert checks["coin price"]["found"] == "3000 OPEN for a coin, by network.json, of 2020-01-31"
    assert (checks["coin price"]["is_ok"], checks["coin price"]["fix"]) == (
        None,
        "set [settlement] coin_price_wei to today's price",
    )
    home.config_file.write_text(f"[settlement]\ncoin_price_wei = {2 * 10**18}\n")
    _, checks = examined(run, "--only", "chain")
    assert checks["coin price"]["found"] == "2 OPEN for a coin, by node.toml"
    assert (checks["coin price"]["is_ok"], checks["coin price"]["fix"]) == (True, "")


def test_a_key_that_lies_without_its_password_is_found(run: Run, home: Home) -> None:
    join_network(home, network_at("http://127.0.0.1:1"))
    (home.keys).mkdir(mode=0o700)
    (home.keys / "signer.json").write_text("{}")
    _, checks = examined(run, "--only", "chain")
    assert "restore" in checks["password"]["fix"]
    assert checks["keystore"]["is_ok"] is False


def test_a_check_that_hangs_is_given_up_and_the_others_are_told(tmp_path: Path) -> None:
    stuck, ended = threading.Event(), threading.Event()

    def hang(_: Scene) -> Verdict:
        stuck.wait(30)
        ended.set()
        return Verdict("at last")

    def well(_: Scene) -> Verdict:
        return Verdict("well")

    checks = [Check("home", "stuck", hang, 0.2), Check("home", "well", well, 5.0)]
    first, second = examine(Scene(Home(tmp_path), lambda *_: None), checks)
    assert not ended.is_set()
    stuck.set()
    assert (first.is_ok, first.found) == (False, "no answer within 0.2 s")
    assert "openledger-node doctor --only home" in first.fix
    assert (second.is_ok, second.found) == (True, "well")


def test_doctor_asks_a_running_node_about_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Finding(section="chain", check="gas", is_ok=True, found="told by the node")

    def look(_: Scene) -> Verdict:
        return Verdict("looked at here")

    def silent(*_: str) -> Any:
        raise NodeError("it does not answer")

    monkeypatch.setattr("openledger_node.operator.doctor.scene.is_claimed", lambda _: True)
    checks = [Check("chain", name, look, is_told=name != "ledger") for name in ("gas", "stake", "ledger")]
    for answer, found in (
        (lambda *_: {"checks": [asdict(told)]}, ["told by the node", "looked at here", "looked at here"]),
        (lambda *_: None, ["looked at here"] * 3),
        (silent, ["looked at here"] * 3),
    ):
        assert [each.found for each in examine(Scene(Home(tmp_path), answer), checks)] == found


def test_a_busy_moment_is_a_warning_and_wakes_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron job that looks at the exit code would report each compile."""
    monkeypatch.setattr(os, "getloadavg", lambda: (10_000.0, 0.0, 0.0))
    ran, checks = examined(run, "--only", "machine")
    assert checks["load"]["is_ok"] is None
    assert "openledger-node pause" in checks["load"]["fix"]
    assert all(check["is_ok"] is not False for check in checks.values()) == (ran.status == 0)
    assert "warn load" in run("doctor", "--only", "machine").stdout


@pytest.mark.parametrize("is_silent", [False, True])
def test_only_the_chain_is_blamed_if_it_is_gone_or_silent(run: Run, home: Home, is_silent: bool) -> None:
    with listener() as silent:
        port = silent if is_silent else 1
        join_network(home, network_at(f"http://127.0.0.1:{port}"))
        ran, checks = examined(run, "--only", "chain")
        assert run("status", "--json").json["network"] == "town"
    assert (ran.status, checks["chain"]["is_ok"]) == (PROBLEMS, False)
    assert "[chain] rpc" in checks["chain"]["fix"]
    assert [checks[name]["is_ok"] for name in CHAIN_CHECKS] == [None] * len(CHAIN_CHECKS)
    found = {each.check: each for each in examine_for_doctor(home)}  # as a running node makes these checks
    assert (list(found), found["chain"].is_ok) == (["chain", *CHAIN_CHECKS], False)


def test_a_network_without_anybody_is_found_and_one_who_answers_is_enough(run: Run, home: Home) -> None:
    with listener() as port:
        bootstrap = f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER_ID}"
        join_network(home, network_at("http://127.0.0.1:1", bootstrap=(bootstrap,)))
        assert examined(run, "--only", "network")[1]["bootstrap"]["is_ok"]
    ran, checks = examined(run, "--only", "network")
    assert (ran.status, checks["bootstrap"]["found"]) == (PROBLEMS, "0 of 1 known addresses answer")
    assert bootstrap.partition("/p2p")[0] in checks["bootstrap"]["fix"]
    assert set(checks) == {"port", "listening", "bootstrap", "peers", "own address", "reachable"}


def test_an_address_that_others_have_dialled_is_not_dialled_from_inside(home: Home) -> None:
    for state, addresses, is_ok, found in (
        ("relayed", [], None, "it advertises no address of its own"),
        ("mapped", ["/ip4/11.0.0.7/tcp/4120"], True, "advertises /ip4/11.0.0.7/tcp/4120"),
        ("unreachable", ["/ip4/127.0.0.1/tcp/1"], False, "none of 1 answers"),
    ):
        answers = {"/status": {"reach": reach_to_plain(REACHES[state])}, "/money/peers": {"addresses": addresses}}
        (finding,) = told_by_the_node(home, "own address", answers)
        assert (finding.is_ok, found in finding.found) == (is_ok, True), state


def told_by_the_node(home: Home, name: str, answers: dict[str, Any]) -> list[Finding]:
    """One check beside a running node that gives these answers."""
    join_network(home, network_at("http://127.0.0.1:1"))
    with claim_home(home):
        return examine(Scene(home, lambda _, path: answers.get(path)), [each for each in CHECKS if each.name == name])


def test_a_daemon_that_holds_the_home_and_says_nothing_is_found(run: Run, home: Home) -> None:
    with claim_home(home):
        ran, checks = examined(run, "--only", "home")
    assert (ran.status, "does not answer" in checks["daemon"]["fix"]) == (PROBLEMS, True)
    for check in checks.values():
        assert bool(check["fix"]) >= (check["is_ok"] is False), "every problem has a fix"
