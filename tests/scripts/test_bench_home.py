"""The laboratory of `scripts/bench/home.py`: its routers, its bars, and what it says where machines can't be made."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes.nodes import ROOT

BENCH = ROOT / "scripts" / "bench"
sys.path.insert(0, str(BENCH))

from home import bars_of, is_well  # noqa: E402
from home_routers import Internet, Line, why_no_line  # noqa: E402
from namespaces import Machine, why_not  # noqa: E402

WHY_NOT = why_not()
needs_machines = pytest.mark.skipif(bool(WHY_NOT), reason=f"no network namespaces: {WHY_NOT}")
TIMEOUT_S = 60
DIAL_S = 0.5
PORT = 4120
MAP_PORT = f"""
import miniupnpc
router = miniupnpc.UPnP()
router.discoverdelay = 500
assert router.discover() == 1
router.selectigd()
try:
    router.addportmapping({PORT}, "TCP", router.lanaddr, {PORT}, "test", "", 60)
    print("mapped")
except Exception:
    print("refused")
"""
MAP_BY_PMP = f"""
from openledger_node.p2p.port_mapping import find_pmp_router
router = find_pmp_router()
print(router.own_host(), router.outer_host(), *router.map_port({PORT}, outer={PORT}, lease_s=3600))
"""
UNMAP_BY_PMP = f"""
from openledger_node.p2p.port_mapping import find_pmp_router
find_pmp_router().unmap_port({PORT})
"""
TRIAL = {"paid": True, "traded": True, "why": "", "direct_s": None, "seller": {"state": "relayed"}}


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    internet = Internet(tmp_path)
    yield internet
    internet.close()


def listening(machine: Machine) -> socket.socket:
    with machine.entered():
        return socket.create_server(("0.0.0.0", PORT))


def dialled(machine: Machine, address: str, *, source: int = 0) -> socket.socket | None:
    with machine.entered():
        try:
            return socket.create_connection((address, PORT), DIAL_S, ("0.0.0.0", source))
        except OSError:
            return None


@needs_machines
@pytest.mark.parametrize("line", list(Line))
def test_a_home_dials_out_and_only_a_public_one_is_dialled(internet: Internet, line: Line) -> None:
    if why := why_no_line(line):
        pytest.skip(why)
    with internet.host() as (host, host_address), internet.home(line, 6) as (home, home_address):
        with listening(host) as outside, dialled(home, host_address, source=5555) or socket.socket() as dialling:
            assert dialling.getpeername()[0] == host_address
            accepted, (seen_host, seen_port) = outside.accept()
            assert seen_host == home_address
            assert home.is_connected(host_address)
            assert host.is_connected(home_address)
            accepted.close()
            assert not home.is_connected("11.99.0.1")
            keeps = line is not Line.RANDOM_PORTS
            assert (seen_port == 5555) is keeps
        with listening(home):
            answer = dialled(host, home_address)
            assert (answer is not None) is (line is Line.PUBLIC)
            if answer:
                answer.close()


@needs_machines
@pytest.mark.skipif(bool(why_no_line(Line.UPNP)), reason=why_no_line(Line.UPNP))
@pytest.mark.parametrize(("line", "is_mapped"), [(Line.UPNP, True), (Line.CARRIER, False)])
def test_a_router_maps_a_port_on_request_unless_its_own_address_is_a_carriers(
    internet: Internet, line: Line, is_mapped: bool
) -> None:
    with internet.host() as (host, _), internet.home(line, 6) as (home, address), listening(home):
        assert home.run(sys.executable, "-c", MAP_PORT).strip() == ("mapped" if is_mapped else "refused")
        answer = dialled(host, address)
        assert (answer is not None) is is_mapped
        if answer:
            answer.close()


@needs_machines
@pytest.mark.skipif(bool(why_no_line(Line.NAT_PMP)), reason=why_no_line(Line.NAT_PMP))
def test_a_real_router_maps_a_port_by_nat_pmp_until_it_is_asked_to_stop(internet: Internet) -> None:
    with internet.host() as (host, _), internet.home(Line.NAT_PMP, 6) as (home, address), listening(home):
        said = home.run(sys.executable, "-c", MAP_BY_PMP).split()
        assert said == ["192.168.1.7", address, str(PORT), "3600"]
        with dialled(host, address) or socket.socket() as answer:
            assert answer.getpeername()[0] == address
        home.run(sys.executable, "-c", UNMAP_BY_PMP)
        assert dialled(host, address) is None


@needs_machines
def test_a_machine_is_gone_once_it_is_closed(internet: Internet) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with internet.home(Line.KEEPS_PORTS, 6) as (machine, _):
        assert machine.run("ip", "-br", "addr", "show", "line").split()[2] == "192.168.1.7/24"
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
def test_a_machine_without_the_programs_says_what_it_did_not_test(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "home.py"), "--json", "--line", "public", "--line", "upnp"]
    env = {**os.environ, "PATH": str(tmp_path)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=env)
    assert ran.returncode == 0, ran.stderr[-2000:]
    not_tested = [line for line in ran.stdout.splitlines() if line.startswith("NOT TESTED: ")]
    assert [line.split(":")[1].strip() for line in not_tested] == ["homes on a public line", "homes on a upnp line"]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["schema"] == "openledger.bench_home/1"
    assert (found["bars"], found["runs"]["trials"]) == ([], [])


@pytest.mark.parametrize(
    ("line", "more", "wanted"),
    [
        ("port-keeping", {"direct_s": 9.0}, {"port_keeping_paid": 1, "port_keeping_state": 1, "direct_by_punch": 1}),
        ("port-keeping", {"direct_s": 11.0}, {"port_keeping_paid": 1, "port_keeping_state": 1, "direct_by_punch": 0}),
        ("upnp", {"paid": False}, {"upnp_paid": 0, "upnp_state": 0, "direct_by_upnp_s": None}),
        (
            "random-port",
            {"first_text_s": 1.5, "relay_killed_s": 9.5},
            {"random_port_paid": 1, "random_port_state": 1, "relay_first_text_s": 1.5, "relay_killed_s": 9.5},
        ),
    ],
)
def test_bars_follow_from_the_trials(line: str, more: dict[str, object], wanted: dict[str, float | None]) -> None:
    bars = list(bars_of({"trials": [{**TRIAL, "line": line, **more}]}))
    assert {bar["id"]: bar["value"] for bar in bars} == wanted


@pytest.mark.parametrize(
    ("line", "direct_s", "paid", "wanted"),
    [
        ("port-keeping", None, True, False),
        ("port-keeping", 2.0, True, True),
        ("random-port", None, True, True),
        ("random-port", None, False, False),
    ],
)
def test_a_trial_is_well_if_it_paid_and_is_direct_where_it_can_be(
    line: str, direct_s: float | None, paid: bool, wanted: bool
) -> None:
    assert is_well({**TRIAL, "line": line, "direct_s": direct_s, "paid": paid}) is wanted
