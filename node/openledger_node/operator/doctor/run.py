"""All checks at once, each in its own thread with a time limit, so that one that hangs delays no other."""

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace

from openledger_protocol.errors import ProtocolError

from ...errors import NodeError
from ...home import Home
from . import chain, folder, machine, model, network
from .finding import Check, Finding, Verdict
from .scene import Scene

LOCAL_S, NETWORK_S = 6.0, 9.0
TOLD_S = 3.5
"""Time of the daemon's checks, so that its answer comes before `doctor` gives it up and looks itself."""

CHECKS = (
    Check("machine", "python", machine.python, LOCAL_S),
    Check("machine", "packages", machine.packages, LOCAL_S),
    Check("machine", "torch", machine.torch, LOCAL_S),
    Check("machine", "device", machine.device, LOCAL_S),
    Check("machine", "compiled", machine.compiled, LOCAL_S),
    Check("machine", "kernels", machine.kernels, LOCAL_S),
    Check("machine", "memory", machine.memory, LOCAL_S),
    Check("machine", "disk", machine.disk, LOCAL_S),
    Check("machine", "load", machine.load, LOCAL_S),
    Check("machine", "download", machine.download, LOCAL_S),
    Check("home", "settings", folder.settings, LOCAL_S),
    Check("home", "writable", folder.writable, LOCAL_S),
    Check("home", "private", folder.private, LOCAL_S),
    Check("home", "api key", folder.api_key, LOCAL_S),
    Check("home", "listeners", folder.listeners, LOCAL_S),
    Check("home", "daemon", folder.daemon, NETWORK_S),
    Check("home", "pause", folder.pause, NETWORK_S),
    Check("model", "base", model.base, LOCAL_S),
    Check("model", "digest", model.digest, NETWORK_S),
    Check("model", "adapters", model.adapters, NETWORK_S),
    Check("model", "budget", model.budget, LOCAL_S),
    Check("model", "backend", model.backend, LOCAL_S),
    Check("model", "engine", model.engine, NETWORK_S),
    Check("chain", "network", chain.network, LOCAL_S),
    Check("chain", "keystore", chain.keystore, LOCAL_S),
    Check("chain", "password", chain.password, LOCAL_S),
    Check("chain", "ledger", chain.ledger, NETWORK_S),
    Check("chain", "chain", chain.reachable, NETWORK_S, is_told=True),
    Check("chain", "chain id", chain.identity, NETWORK_S, is_told=True),
    Check("chain", "contracts", chain.contracts, NETWORK_S, is_told=True),
    Check("chain", "clock", chain.clock, NETWORK_S, is_told=True),
    Check("chain", "gas", chain.gas, NETWORK_S, is_told=True),
    Check("chain", "stake", chain.stake, NETWORK_S, is_told=True),
    Check("chain", "coin price", chain.coin_price, LOCAL_S),
    Check("chain", "claims", chain.claims, NETWORK_S),
    Check("network", "port", network.port, NETWORK_S),
    Check("network", "listening", network.listening, NETWORK_S),
    Check("network", "bootstrap", network.bootstrap, NETWORK_S),
    Check("network", "peers", network.peers, NETWORK_S),
    Check("network", "own address", network.own_address, NETWORK_S),
    Check("network", "reachable", network.reachable, NETWORK_S),
)


def examine_for_doctor(home: Home) -> list[Finding]:
    """Make the checks of the chain in the daemon, which has loaded the client and the codec that they need.

    A check that takes longer is left out: `doctor` looks itself and has more time, such as for a second endpoint.
    """
    checks = [replace(check, within_s=TOLD_S) for check in CHECKS if check.is_told]
    with closing(Scene(home, lambda *_: {})) as scene:
        seen = dict(_look_at_all(scene, checks))
    return [_finding(check, seen[check.name]) for check in checks if check.name in seen]


def examine(scene: Scene, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Run the checks within the time limit of the slowest one."""
    chosen = list(checks)
    seen = _look_at_all(scene, chosen)
    return [_finding(check, seen.get(check.name)) for check in chosen]


def _look_at_all(scene: Scene, chosen: Sequence[Check]) -> dict[str, Verdict | Finding]:
    """Make the checks and return what they found in time, by their names."""
    seen: dict[str, Verdict | Finding] = {}
    began_s = time.monotonic()
    # Daemon threads: one that hangs in a system call must not keep the command from ending.
    threads = [threading.Thread(target=_look, args=(check, scene, seen), daemon=True) for check in chosen]
    for thread in threads:
        thread.start()
    for check, thread in zip(chosen, threads, strict=True):
        thread.join(max(0.0, check.within_s - (time.monotonic() - began_s)))
    return seen


def _look(check: Check, scene: Scene, seen: dict[str, Verdict | Finding]) -> None:
    try:
        seen[check.name] = (scene.told(check.name) if check.is_told else None) or check.look(scene)
    except (NodeError, ProtocolError) as error:
        seen[check.name] = Verdict("no", str(error))
    except OSError as error:
        seen[check.name] = Verdict(
            str(error), f"check the permissions and the disk of {error.filename or scene.home.root}"
        )


def _finding(check: Check, seen: Verdict | Finding | None) -> Finding:
    if isinstance(seen, Finding):
        return seen
    if seen is None:
        fix = f"run `openledger-node doctor --only {check.section}` again; if this persists, see the node's log"
        return Finding(
            section=check.section,
            check=check.name,
            is_ok=False,
            found=f"no answer within {check.within_s:g} s",
            fix=fix,
        )
    is_ok = None if not seen.is_known or (seen.is_passing and seen.fix) else not seen.fix
    return Finding(section=check.section, check=check.name, is_ok=is_ok, found=seen.found, fix=seen.fix)
