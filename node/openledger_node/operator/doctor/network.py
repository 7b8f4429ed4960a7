"""Checks of ports, addresses and peers."""

import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...p2p.address_book import AddressBook
from ...p2p.reachability import ReachState
from ..reach_words import REACHED
from .finding import Verdict, unknown
from .scene import Scene

DIAL_TIMEOUT_S = 3.0
DIALS_MAX = 16
_ADDRESS = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/(\d+)")


def port(scene: Scene) -> Verdict:
    """The API's port is free, or used by this node."""
    api = scene.config.api
    if scene.status:
        return Verdict(f"in use by this node: {scene.status['api']['url']}")
    with socket.socket(socket.AF_INET6 if ":" in api.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((api.host, api.port))
        except OSError as error:
            return Verdict(
                f"{api.host}:{api.port}: {error.strerror}", "stop the program that uses it, or set [api] port"
            )
    return Verdict(f"{api.host}:{api.port} is free")


def listening(scene: Scene) -> Verdict:
    """The port for peers is free, or used by this node."""
    chosen = scene.config.p2p.port
    if _is_alone(scene):
        return unknown("a node on a chain of its own has no peers")
    if scene.status or not chosen:
        return Verdict(
            "in use by this node"
            if scene.status
            else "any free port; set [p2p] port to one that your router can forward"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", chosen))
        except OSError as error:
            return Verdict(f"{chosen}: {error.strerror}", "stop the program that uses it, or set [p2p] port")
    return Verdict(f"{chosen} is free")


def bootstrap(scene: Scene) -> Verdict:
    """A bootstrap node, or a peer from an earlier run, can be dialled."""
    found = scene.network
    if found is None or _is_alone(scene):
        return unknown("a node on a chain of its own has no peers")
    addresses = [*found.bootstrap, *AddressBook(scene.home.network(found.network)).addresses][:DIALS_MAX]
    if not addresses:
        fix = "name a bootstrap node in network.json; `openledger-node network bootstrap` runs one"
        return Verdict("no address of another node is known", fix)
    answering = dial_all(addresses)
    found_line = f"{len(answering)} of {len(addresses)} known addresses answer"
    fix = f"check that this machine can reach {addresses[0]}: a firewall may block it, or the node is down"
    return Verdict(found_line, "" if answering else fix)


def peers(scene: Scene) -> Verdict:
    """The running node is connected to a peer."""
    if _is_alone(scene):
        return unknown("a node on a chain of its own has no peers")
    status = scene.status
    if status is None:
        return unknown("the daemon is not running")
    if status["peers"]:
        return Verdict(f"{status['peers']} connected")
    return Verdict(
        "no peer is connected", "wait a minute, then check `bootstrap` above and `openledger-node peers list`"
    )


def own_address(scene: Scene) -> Verdict:
    """The addresses that this node advertises can be dialled, at least from this machine."""
    if _is_alone(scene):
        return unknown("a node on a chain of its own has no peers")
    if scene.status is None or not (answer := scene.peers):
        return unknown("the daemon is not running")
    addresses = [str(address) for address in answer["addresses"]]
    reach = scene.status["reach"]
    if not addresses:
        return unknown("it advertises no address of its own")
    if reach and reach["state"] in REACHED:  # a router often lets nobody inside dial its outer address
        return Verdict(f"advertises {', '.join(addresses[:2])}")
    answering = dial_all(addresses)
    if not answering:
        fix = "set [p2p] listen to an address of this machine: `/ip4/<its address>/tcp/<port>`"
        return Verdict(f"none of {len(addresses)} answers: {', '.join(addresses[:2])}", fix)
    is_outside = [address for address in answering if not re.match(r"/ip4/127\.|/ip6/::1/", address)]
    if not is_outside:
        fix = "set [p2p] listen to an address that other machines can reach: `/ip4/<its address>/tcp/<port>`"
        return Verdict(f"only this machine itself can reach {answering[0]}", fix)
    return Verdict(f"{is_outside[0]} answers from this machine")


def reachable(scene: Scene) -> Verdict:
    """Other nodes can reach this one, as they say themselves."""
    if _is_alone(scene):
        return unknown("a node on a chain of its own has no peers")
    reach = scene.status["reach"] if scene.status else None
    if not reach:
        return unknown("the daemon is not running, or is not on its network yet")
    found = _with_evidence(reach)
    if reach["state"] in (ReachState.UNKNOWN, ReachState.PUNCHED):
        return unknown(found) if reach["state"] == ReachState.UNKNOWN else Verdict(found)
    is_reached = reach["state"] in REACHED
    fix = reach["remedy"] or ("" if is_reached else "forward a TCP port in your router to this machine")
    return Verdict(found, fix, is_passing=is_reached)


def _with_evidence(reach: dict[str, Any]) -> str:
    """The state, and what it rests on."""
    parts = [reach["says"]]
    if reach["seen_as"]:
        parts.append(f"others see it at {', '.join(reach['seen_as'])}")
    if reach["router"]:
        parts.append(f"the router: {reach['router']}")
    return "; ".join(parts)


def dial_all(addresses: Iterable[str]) -> list[str]:
    """The addresses that accept a connection."""
    listed = list(addresses)
    with ThreadPoolExecutor(max_workers=DIALS_MAX) as pool:
        return [address for address, is_up in zip(listed, pool.map(_dial, listed), strict=True) if is_up]


def _dial(address: str) -> bool:
    found = _ADDRESS.match(address)
    if not found:
        return False
    try:
        socket.create_connection((found[1], int(found[2])), timeout=DIAL_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _is_alone(scene: Scene) -> bool:
    return scene.network is None or scene.has_own_chain
