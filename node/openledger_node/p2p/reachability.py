"""Reachability: how other peers reach this node, and the one thing that its operator can do about it.

Everything here is a value or a pure function; `reach_watch` collects the evidence. The ways are judged in the order
in which they are good for trade: an address that others dial, a mapped port, hole punching, and relays.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from openledger_protocol.wire.dialback import Dialled

from .scopes import Scope, host_of, scope_of, scope_of_host

EXAMPLE_PORT = 4120
"""The port in advice, where the node has no fixed one."""


class ReachState(StrEnum):
    """The best way in which others reach this node; `UNKNOWN` until somebody has been asked."""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    MAPPED = "mapped"
    PUNCHED = "punched"
    RELAYED = "relayed"
    UNREACHABLE = "unreachable"


IS_DIRECT = frozenset({ReachState.PUBLIC, ReachState.MAPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The state of this node's reachability at one moment."""

    state: ReachState
    addresses: tuple[str, ...]  # where others reach this node directly
    relays: tuple[str, ...]  # circuit addresses
    seen_as: tuple[str, ...]  # IP addresses that other peers see this node at
    router: str  # what the router said about port mapping, in words; "" if it was not asked
    remedy: str  # the one thing that the operator can do; "" if there is nothing to do


NOT_CHECKED = Reach(state=ReachState.UNKNOWN, addresses=(), relays=(), seen_as=(), router="", remedy="")
"""Before anything is known, and on a chain of its own."""


class RouterState(StrEnum):
    """The result of asking the router to map a port."""

    NOT_ASKED = "not asked"
    OFF = "off"  # by setting
    ABSENT = "absent"  # no router answers
    MAPPED = "mapped"
    SHARED = "shared"  # its address is of carrier-grade NAT
    INNER = "inner"  # its address is private: another router is in front of it
    NO_ADDRESS = "no address"  # it names no address of its own
    REFUSED = "refused"
    ELSEWHERE = "elsewhere"  # this node does not listen where the router would forward to


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterAnswer:
    """The router's answer in words; `address` is a multiaddress that it forwards to this node, if it maps a port."""

    state: RouterState
    words: str = ""
    address: str = ""


NOT_ASKED = RouterAnswer(state=RouterState.NOT_ASKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is known about this node's reachability."""

    network: Scope
    announced: tuple[str, ...] = ()  # multiaddresses from settings
    listening: tuple[str, ...] = ()  # multiaddresses, without peer ids
    port: int = 0  # that others should reach; 0 is not known yet
    is_port_fixed: bool = False  # by settings, so that a port forwarded by hand stays right
    router: RouterAnswer = NOT_ASKED
    answers: tuple[Dialled, ...] = ()  # of peers that dialled back, one each
    num_peers: int = 0
    has_punched: bool = False  # a peer is reached by hole punching, or was and did not fall back to a relay
    relays: tuple[str, ...] = ()


def port_of(address: str) -> int:
    """The TCP port in a multiaddress; 0 if it has none."""
    parts = address.split("/")
    port = parts[4] if len(parts) > 4 and parts[3] == "tcp" else ""
    return int(port) if port.isdecimal() else 0


def own_addresses(evidence: Evidence) -> tuple[str, ...]:
    """The listening addresses that the whole network could dial."""
    return tuple(each for each in evidence.listening if (scope_of(each) or Scope.MACHINE) >= evidence.network)


def outer_addresses(evidence: Evidence) -> tuple[str, ...]:
    """The listening addresses of interfaces that lead out of this machine.

    Each interface has a port of its own if the settings name none, and that of loopback is no use to anybody else.
    """
    return tuple(each for each in evidence.listening if scope_of(each) is not Scope.MACHINE)


def answering_addresses(evidence: Evidence) -> tuple[str, ...]:
    """The addresses at which most of the asked peers reached this node.

    One liar among three can neither invent an address, at which all others would then dial a stranger, nor hide one.
    Half of the peers are enough for an address that this node has, or that its router or its operator names. A host
    of IPv6 is believed only if this node has that address, because those are seldom translated. An address that the
    network can't dial counts for nothing.
    """
    named = {evidence.router.address, *evidence.announced, *evidence.listening}
    own_hosts = {host_of(each) for each in evidence.listening}
    reached = [each for each in evidence.answers if (scope_of_host(each.host) or Scope.MACHINE) >= evidence.network]
    believed = [each for each in reached if ":" not in each.host or each.host in own_hosts]
    num_of = Counter(":" in each.host for each in believed)
    votes = Counter((each.host, port) for each in believed for port in each.open)
    found = [
        (f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}", 2 * num_open - num_of[":" in host])
        for (host, port), num_open in votes.items()
    ]
    return tuple(address for address, lead in found if lead > 0 or (lead == 0 and address in named))


def withheld_addresses(evidence: Evidence) -> frozenset[str]:
    """The listening addresses that peers have dialled in vain; none without a relay, as some address must be told."""
    if not evidence.relays:
        return frozenset()
    tested = {each.host for each in evidence.answers}
    return frozenset(
        each
        for each in own_addresses(evidence)
        if host_of(each) in tested and each not in answering_addresses(evidence)
    )


def mapped_addresses(evidence: Evidence) -> tuple[str, ...]:
    """The answering addresses that are neither announced nor listened on."""
    known = (*evidence.announced, *evidence.listening)
    return tuple(each for each in answering_addresses(evidence) if each not in known)


def reach_of(evidence: Evidence) -> Reach:
    """Judge the evidence."""
    state = _state(evidence)
    return Reach(
        state=state,
        addresses=answering_addresses(evidence) if state in IS_DIRECT else (),
        relays=evidence.relays,
        seen_as=tuple(dict.fromkeys(each.host for each in evidence.answers)),
        router=evidence.router.words,
        remedy=_remedy(state, evidence),
    )


def may_need_relays(evidence: Evidence) -> bool:
    """True unless others reach this node, or are likely to: a home does not wait for the first check."""
    state = _state(evidence)
    if state is ReachState.UNKNOWN:
        return not evidence.announced and not own_addresses(evidence)
    return state not in IS_DIRECT


def _state(evidence: Evidence) -> ReachState:
    if answering := answering_addresses(evidence):
        is_mapped = all(port_of(each) == port_of(evidence.router.address) for each in answering)
        return ReachState.MAPPED if is_mapped else ReachState.PUBLIC
    if evidence.relays:
        return ReachState.PUNCHED if evidence.has_punched else ReachState.RELAYED
    return ReachState.UNREACHABLE if evidence.answers else ReachState.UNKNOWN


# ---- the remedy


def _remedy(state: ReachState, evidence: Evidence) -> str:
    if not evidence.num_peers:
        return (
            "No peer is connected. Check this machine's internet connection, then run "
            "`openledger-node doctor --only network`."
        )
    silent = _silent_announced(evidence)
    if state is ReachState.PUBLIC and silent:
        return f"Correct [p2p] announce: nobody answers at {silent}, but others reach this node elsewhere."
    if state is ReachState.UNKNOWN or state in IS_DIRECT or _is_too_early(evidence):
        return ""
    no_relay = "No connected peer serves as a relay. " if state is ReachState.UNREACHABLE else ""
    return no_relay + (_remedy_of_announced(silent) if silent else _remedy_of_router(evidence))


def _is_too_early(evidence: Evidence) -> bool:
    """True while it is open whether an address or a mapped port is reached, because nobody has dialled back yet."""
    is_open = own_addresses(evidence) or evidence.router.state in (RouterState.NOT_ASKED, RouterState.MAPPED)
    return not evidence.answers and bool(is_open)


def _silent_announced(evidence: Evidence) -> str:
    """An announced address whose port peers have dialled in vain; "" if there is none.

    An address by name, or one that peers don't see this node at, is tested at the address that they see.
    """
    ports = {port_of(each) for each in answering_addresses(evidence)}
    return next((each for each in evidence.announced if evidence.answers and port_of(each) not in ports), "")


def _remedy_of_announced(address: str) -> str:
    port = port_of(address)
    return (
        f"Nobody answers at {address}, which [p2p] announce names. Let the router forward TCP port {port} to this "
        f"machine, and let the machine's firewall accept it."
    )


def _remedy_of_router(evidence: Evidence) -> str:
    port = evidence.port or EXAMPLE_PORT
    if own_addresses(evidence):
        return f"Let the firewall of this machine, and of its provider, accept TCP connections to port {port}."
    fixed = "" if evidence.is_port_fixed else f"set [p2p] port = {EXAMPLE_PORT} and "
    forward = f"{fixed}forward TCP port {port if evidence.is_port_fixed else EXAMPLE_PORT} to this machine there"
    match evidence.router.state:
        case RouterState.SHARED:
            return (
                "Your internet provider shares one address among several customers (carrier-grade NAT), so no port "
                "can be forwarded. Ask the provider for a public IPv4 address of your own."
            )
        case RouterState.INNER | RouterState.NO_ADDRESS:
            return (
                "Your router has no public address: another router is in front of it. Set one of the two to bridge "
                "mode, or ask your internet provider for a public IPv4 address."
            )
        case RouterState.MAPPED:
            return (
                f"Your router forwards port {port_of(evidence.router.address)}, but nobody comes through. Let this "
                f"machine's firewall accept TCP connections to port {port}, and ask your internet provider whether "
                "it filters them."
            )
        case RouterState.OFF:
            return f"Set [p2p] map_port = true, so that the node asks your router for a port, or {forward}."
        case RouterState.ELSEWHERE:
            return "Set [p2p] listen = auto, so that the node listens where your router can forward a port to."
        case _:
            return f"Turn on UPnP or NAT-PMP in your router, or {forward}."
