"""`doctor` and `status` where something is broken: quick all the same, and they say what to do."""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.reaches import REACHES
from support.verbs import Ran, Run

from openledger_node.cli.doctor import Section
from openledger_node.errors import NodeError
from openledger_node.home import Home, claim_home
from openledger_node.models.bases import describe_folder
from openledger_node.network_file import CONTRACTS, Network, Token, join_network
from openledger_node.operator.doctor.finding import Check, Finding, Verdict
from openledger_node.operator.doctor.run import CHECKS, examine, examine_for_doctor
from openledger_node.operator.doctor.scene import Scene
from openledger_node.operator.reach_words import reach_to_plain
from openledger_protocol.primitives import Digest, check_address

STATUS_S, DOCTOR_S = 1.0, 15.0
PROBLEMS = 8
PEER_ID = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2"
CHAIN_ID = 4242
CHAIN_CHECKS = ("chain id", "contracts", "clock", "gas", "stake")


def network_at(url: str, *, bootstrap: tuple[str, ...] = ()) -> Network:
    return Network(
        network="town",
        chain_id=CHAIN_ID,
        rpc=(url,),
        genesis_hash=Digest("0x" + "1a" * 32),
        deploy_block=1,
        contracts={name: check_address(f"0x{number:040x}") for number, name in enumerate(CONTRACTS, 1)},
        bootstrap=bootstrap,
        token=Token(symbol="OPEN", decimals=18),
    )


def examined(run: Run, *words: str) -> tuple[Ran, dict[str, Any]]:
    """What a doctor finds, within its time."""
    began_s = time.monotonic()
    ran = run("doctor", "--json", *words)
    assert time.monotonic() - began_s < DOCTOR_S
    return ran, {check["check"]: check for check in ran.json["checks"]}


def status_within_its_time(run: Run) -> dict[str, Any]:
    took, found = [], {}
    for _ in range(2):
        began_s = time.monotonic()
        found = run("status", "--json").json
        took.append(time.monotonic() - began_s)
    assert min(took) < STATUS_S
    return found


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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls = asked if isinstance(asked, list) else [asked]
            said = [{"jsonrpc": "2.0", "id": call["id"], "result": answers.get(call["method"])} for call in calls]
            content = json.dumps(said if isinstance(asked, list) else said[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_base(folder: Path) -> None:
    """A base as far as a doctor looks: nothing of it is loaded."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 8_000)
    tokenizer = {"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    describe_folder(folder)


def test_there_are_more_than_twenty_checks_and_each_has_a_name_of_its_own() -> None:
    assert len(CHECKS) > 20
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.section for check in CHECKS} == set(Section)


def test_a_chain_that_is_gone_is_found_and_nothing_else_is_blamed_for_it(run: Run, home: Home) -> None:
    with listener() as port:
        pass
    join_network(home, network_at(f"http://127.0.0.1:{port}"))
    ran, checks = examined(run)
    assert ran.status == PROBLEMS
    assert checks["chain"]["is_ok"] is False
    assert "[chain] rpc" in checks["chain"]["fix"]
    assert [checks[name]["is_ok"] for name in CHAIN_CHECKS] == [None] * len(CHAIN_CHECKS)
    assert checks["python"]["is_ok"]
    assert status_within_its_time(run)["network"] == "town"


def test_a_chain_that_is_silent_holds_up_nothing(run: Run, home: Home) -> None:
    with listener() as port:
        join_network(home, network_at(f"http://127.0.0.1:{port}"))
        _, checks = examined(run, "--only", "chain")
        assert checks["chain"]["is_ok"] is False
        assert "[chain] rpc" in checks["chain"]["fix"]
        assert status_within_its_time(run)["state"] == "stopped"


def test_another_chain_is_told_from_the_networks(run: Run, home: Home) -> None:
    block = {
        "number": "0x5",
        "hash": "0x" + "22" * 32,
        "parentHash": "0x" + "33" * 32,
        "timestamp": hex(int(time.time()) + 3_600),
    }
    with endpoint({"eth_chainId": "0x1", "eth_getBlockByNumber": block, "eth_getCode": "0x"}) as url:
        join_network(home, network_at(url))
        _, checks = examined(run, "--only", "chain")
    assert "town is on 4242" in checks["chain id"]["found"]
    assert "openledger-node network join FILE" in checks["chain id"]["fix"]
    assert "no code where" in checks["contracts"]["found"]
    assert checks["clock"]["is_ok"] is False
    assert "timedatectl" in checks["clock"]["fix"]


def test_a_network_without_anybody_is_found(run: Run, home: Home) -> None:
    with listener() as port:
        pass
    join_network(home, network_at("http://127.0.0.1:1", bootstrap=(f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER_ID}",)))
    ran, checks = examined(run, "--only", "network")
    assert ran.status == PROBLEMS
    assert checks["bootstrap"]["found"] == "0 of 1 known addresses answer"
    assert f"/ip4/127.0.0.1/tcp/{port}" in checks["bootstrap"]["fix"]
    assert set(checks) == {"port", "listening", "bootstrap", "peers", "own address", "reachable"}
    assert status_within_its_time(run)["peers"] == 0


@pytest.mark.parametrize(
    ("state", "is_ok", "found"),
    [
        ("unknown", None, "not known yet"),
        ("public", True, "directly at /ip4/11.0.0.7/tcp/4120; others see it at 11.0.0.7"),
        ("mapped", True, "others see it at 11.0.0.7; the router: it forwards port 4120"),
        ("punched", True, "then connect directly"),
        ("relayed", None, "the router: its address 100.64.0.9 is shared"),
        ("unreachable", False, "no other node can reach this one"),
    ],
)
def test_a_doctor_says_how_others_reach_the_node_and_what_helps(
    home: Home, state: str, is_ok: bool | None, found: str
) -> None:
    join_network(home, network_at("http://127.0.0.1:1"))
    reach = reach_to_plain(REACHES[state])
    with claim_home(home):
        scene = Scene(home, lambda method, path: {"reach": reach} if path == "/status" else None)
        check = next(check for check in CHECKS if check.name == "reachable")
        (finding,) = examine(scene, [check])
    assert (finding.is_ok, found in finding.found) == (is_ok, True)
    assert finding.fix == (REACHES[state].remedy if state in ("relayed", "unreachable") else "")


@pytest.mark.parametrize(
    ("state", "addresses", "is_ok", "found"),
    [
        ("relayed", [], None, "it advertises no address of its own"),
        ("mapped", ["/ip4/11.0.0.7/tcp/4120"], True, "advertises /ip4/11.0.0.7/tcp/4120"),
        ("unreachable", ["/ip4/127.0.0.1/tcp/1"], False, "none of 1 answers"),
    ],
)
def test_an_address_that_others_have_dialled_is_not_dialled_from_inside(
    home: Home, state: str, addresses: list[str], is_ok: bool | None, found: str
) -> None:
    join_network(home, network_at("http://127.0.0.1:1"))
    answers = {"/status": {"reach": reach_to_plain(REACHES[state])}, "/money/peers": {"addresses": addresses}}
    with claim_home(home):
        scene = Scene(home, lambda _, path: answers[path])
        (finding,) = examine(scene, [check for check in CHECKS if check.name == "own address"])
    assert (finding.is_ok, found in finding.found) == (is_ok, True)


def test_somebody_who_answers_is_enough(run: Run, home: Home) -> None:
    with listener() as port:
        join_network(home, network_at("http://127.0.0.1:1", bootstrap=(f"/ip4/127.0.0.1/tcp/{port}/p2p/{PEER_ID}",)))
        _, checks = examined(run, "--only", "network")
    assert checks["bootstrap"]["is_ok"]


def test_a_full_disk_is_found(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(home.root)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    ran, checks = examined(run)
    assert ran.status == PROBLEMS
    assert "free some space on the disk of" in checks["disk"]["fix"]
    assert status_within_its_time(run)["state"] == "stopped"


def test_an_owners_cap_on_the_disk_is_a_full_disk(run: Run, home: Home) -> None:
    (home.models / "big").mkdir(parents=True)
    (home.models / "big" / "model.safetensors").write_bytes(bytes(5_000_000))
    home.config_file.write_text("[limits]\ndisk_bytes = 1000000\n")
    _, checks = examined(run, "--only", "machine")
    assert "`openledger-node limits set --disk SIZE`" in checks["disk"]["fix"]
    refused = run("models", "pull", "OWNER/NAME")
    assert (refused.status, "limits set --disk" in refused.stderr) == (3, True)


def test_weights_that_have_changed_are_found(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home.models / "mine"
    write_base(folder)
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "mine")
    _, checks = examined(run, "--only", "model")
    assert checks["digest"]["is_ok"]
    (weights,) = folder.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    ran, checks = examined(run, "--only", "model")
    assert ran.status == PROBLEMS
    assert "openledger-node models pull mine" in checks["digest"]["fix"]
    assert status_within_its_time(run)["base"] == "mine"


def test_a_base_that_does_not_fit_under_the_caps_is_found(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(home.models / "mine")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "mine")
    home.config_file.write_text("[limits]\nram_bytes = 1000000\n")
    _, checks = examined(run, "--only", "model")
    assert "limits set --vram SIZE --ram SIZE" in checks["budget"]["fix"]


def test_what_a_limit_leaves_room_for_is_said_before_the_base_is_loaded(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(home.models / "mine")
    sizes = {
        "model_type": "llama", "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5, "rope_theta": 100_000.0, "tie_word_embeddings": True,
    }  # fmt: skip
    (home.models / "mine" / "config.json").write_text(json.dumps(sizes))
    monkeypatch.setenv("OPENLEDGER_INFERENCE_BASE", "mine")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_DEVICE", "cpu")
    monkeypatch.setenv("OPENLEDGER_INFERENCE_DTYPE", "float32")
    home.config_file.write_text("[limits]\nram_bytes = 1000000000\n")
    _, checks = examined(run, "--only", "model")
    assert "needs about 0.6 GB, which leaves " in checks["budget"]["found"]
    assert "tokens of context for all requests together and 5 adapters of rank 16" in checks["budget"]["found"]
    assert not checks["budget"]["fix"]


def test_a_daemon_that_holds_the_home_and_says_nothing_is_found(run: Run, home: Home) -> None:
    with claim_home(home):
        ran, checks = examined(run, "--only", "home")
    assert ran.status == PROBLEMS
    assert "does not answer" in checks["daemon"]["fix"]


@pytest.mark.parametrize(
    ("spoil", "check", "fix"),
    [
        (lambda home: home.config_file.write_text("[market]\nprice_inn_wei = 1\n"), "settings", "did you mean"),
        (lambda home: home.config_file.write_text('[limits]\nhours = "noon"\n'), "settings", "isn't a time window"),
        (lambda home: (home.keys.mkdir(mode=0o755), home.keys.chmod(0o755)), "private", "chmod -R go="),
    ],
    ids=["an unknown key", "hours", "open keys"],
)
def test_what_is_wrong_with_the_home_is_found(
    run: Run, home: Home, spoil: Callable[[Home], Any], check: str, fix: str
) -> None:
    spoil(home)
    _, checks = examined(run, "--only", "home")
    assert checks[check]["is_ok"] is False
    assert fix in checks[check]["fix"]


def test_a_key_that_lies_without_its_password_is_found(run: Run, home: Home) -> None:
    join_network(home, network_at("http://127.0.0.1:1"))
    (home.keys).mkdir(mode=0o700)
    (home.keys / "signer.json").write_text("{}")
    _, checks = examined(run, "--only", "chain")
    assert "restore" in checks["password"]["fix"]
    assert checks["keystore"]["is_ok"] is False


def test_a_check_that_hangs_is_given_up_and_the_others_are_told(tmp_path: Path) -> None:
    stuck = threading.Event()

    def hang(_: Scene) -> Verdict:
        stuck.wait(30)
        return Verdict("at last")

    def well(_: Scene) -> Verdict:
        return Verdict("well")

    began_s = time.monotonic()
    checks = [Check("home", "stuck", hang, 0.2), Check("home", "well", well, 5.0)]
    first, second = examine(Scene(Home(tmp_path), lambda *_: None), checks)
    assert time.monotonic() - began_s < 5
    stuck.set()
    assert (first.is_ok, first.found) == (False, "no answer within 0.2 s")
    assert "openledger-node doctor --only home" in first.fix
    assert (second.is_ok, second.found) == (True, "well")


def test_a_running_node_tells_the_findings_of_the_chain_and_doctor_looks_itself_if_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_node_makes_the_checks_of_its_chain_for_doctor(home: Home) -> None:
    join_network(home, network_at("http://127.0.0.1:1"))
    found = {each.check: each for each in examine_for_doctor(home)}
    assert list(found) == ["chain", "chain id", "contracts", "clock", "gas", "stake"]
    assert found["chain"].is_ok is False
    assert "set [chain] rpc" in found["chain"].fix
    assert found["stake"].found == "the chain does not answer"


def test_a_check_that_the_node_has_no_time_for_is_left_to_doctor(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()

    def hang(_: Scene) -> Verdict:
        stuck.wait(30)
        return Verdict("at last")

    checks = [
        Check("chain", "stake", hang, is_told=True),
        Check("chain", "gas", lambda _: Verdict("enough"), is_told=True),
    ]
    monkeypatch.setattr("openledger_node.operator.doctor.run.CHECKS", checks)
    monkeypatch.setattr("openledger_node.operator.doctor.run.TOLD_S", 0.5)
    found = examine_for_doctor(home)
    stuck.set()
    assert [each.check for each in found] == ["gas"]


def test_a_section_that_does_not_exist_is_a_wrong_word(run: Run) -> None:
    assert run("doctor", "--only", "weather").status == 2


def test_every_fix_names_a_command_or_an_edit(run: Run, home: Home) -> None:
    join_network(home, network_at("http://127.0.0.1:1"))
    home.config_file.write_text('[inference]\nbase = "nowhere"\n')
    for check in run("doctor", "--json").json["checks"]:
        assert bool(check["fix"]) >= (check["is_ok"] is False)
        assert not (check["fix"] and check["is_ok"])  # a warning, whose `is_ok` is null, may have a fix
        if check["fix"]:
            assert any(word in check["fix"] for word in ("`", "set ", "put ", "delete ", "stop ", "[")), check


def test_a_busy_moment_is_a_warning_and_wakes_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron job that looks at the exit code would report each compile."""
    monkeypatch.setattr(os, "getloadavg", lambda: (10_000.0, 0.0, 0.0))
    ran, checks = examined(run, "--only", "machine")
    assert checks["load"]["is_ok"] is None
    assert "openledger-node pause" in checks["load"]["fix"]
    assert all(check["is_ok"] is not False for check in checks.values()) == (ran.status == 0)
    assert "warn load" in run("doctor", "--only", "machine").stdout
