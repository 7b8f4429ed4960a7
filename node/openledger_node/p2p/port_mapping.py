"""A port of the home's router that leads to this node, by NAT-PMP, or else by UPnP.

The library waits for the router without trio, so its calls run in a thread that a slow router can't hold the node up
in. Leases end by themselves, so that a node that was killed leaves no open port for long. Some routers know permanent
mappings only. Such a mapping is noted on disk, and the next start removes it.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import miniupnpc
import trio

from ..home import write_private
from .nat_pmp import PmpError, PmpRouter, PmpSilentError, default_gateway
from .reachability import NOT_ASKED, RouterAnswer, RouterState
from .scopes import is_carrier_grade, is_public_host

LEASE_S: Final = 3600
AGAIN_S, SOON_S = 900.0, 60.0
"""The time until a router that maps no port is asked again, and one that has stopped to map it or was too slow.

A router is doubted at most once in the second time.
"""

ASK_S, REMOVE_S = 6.0, 2.0
DISCOVER_MS = 2_000
DRAWN_PORTS = 3
DRAWN_FROM, DRAWN_TO = 20_000, 60_000
PERMANENT_FILE = "port-mapping.json"
TCP, DESCRIPTION = "TCP", "openledger-node"
ONLY_PERMANENT, TAKEN = "OnlyPermanentLeasesSupported", "ConflictInMappingEntry"

OFF = RouterAnswer(state=RouterState.OFF, words="[p2p] map_port is false, so the router is not asked for a port")
ABSENT = RouterAnswer(state=RouterState.ABSENT, words="no router here answers by UPnP or NAT-PMP")
SLOW = RouterAnswer(state=RouterState.ABSENT, words=f"the router has not answered in {ASK_S:.0f} s")

log = logging.getLogger(__name__)


def find_pmp_router() -> PmpRouter | None:
    """The router to ask by NAT-PMP; None if this machine names none."""
    host = default_gateway()
    return PmpRouter(host) if host else None


class PortMapper:
    """One mapped port. `keep` is its task; the other methods block.

    `folder` keeps the note of a permanent mapping. `description_url` is the router's own description, for a router
    that can't be found by multicast. `find_pmp_router` finds the router that is asked by NAT-PMP.
    """

    def __init__(
        self,
        folder: Path,
        *,
        random: Random,
        description_url: str = "",
        find_pmp_router: Callable[[], PmpRouter | None] = find_pmp_router,
    ) -> None:
        self._file = folder / PERMANENT_FILE
        self._random = random
        self._description_url = description_url
        self._find_pmp_router = find_pmp_router
        self._router: Any = None
        self._pmp: tuple[PmpRouter, int] | None = None  # it has mapped a port of this machine, and the port
        self._lease_s = LEASE_S
        self._outer = 0  # the router's port; 0 is none
        self._doubted = trio.Event()
        self._asking = threading.Lock()  # a thread that is waited for no more may still ask the router
        self._num_kept = 0  # changes when `keep` begins and ends

    def doubt(self) -> None:
        """Ask the router again soon: nobody reaches the mapped port, so it may have restarted and forgotten it."""
        self._doubted.set()

    async def keep(self, *, ports: Mapping[str, int], note: Callable[[RouterAnswer], None]) -> None:
        """Keep a port mapped until cancelled, and remove the mapping then; `note` gets each answer of the router.

        `ports` are the addresses that this node listens on, each with its port.
        """
        answer = NOT_ASKED
        self._num_kept += 1
        try:
            while True:
                was_mapped = answer.state is RouterState.MAPPED
                answer, self._doubted = SLOW, trio.Event()
                with trio.move_on_after(ASK_S):
                    map_now = partial(self._map_while_kept, ports, self._num_kept)
                    answer = await trio.to_thread.run_sync(map_now, abandon_on_cancel=True)
                note(answer)
                is_mapped = answer.state is RouterState.MAPPED
                # A slow router may map the port all the same, after this node has stopped to wait for it.
                is_soon = is_mapped or was_mapped or answer is SLOW
                await trio.sleep(SOON_S if is_soon else AGAIN_S)
                if is_mapped:
                    with trio.move_on_after(max(0.0, self._lease_s / 2 - SOON_S)):
                        await self._doubted.wait()
        finally:
            self._num_kept += 1
            with trio.move_on_after(REMOVE_S, shield=True):
                await trio.to_thread.run_sync(self.remove, abandon_on_cancel=True)

    def _map_while_kept(self, ports: Mapping[str, int], num_kept: int) -> RouterAnswer:
        """Map a port, unless `keep` has ended meanwhile: nobody would remove the mapping then.

        A router that hangs holds up one thread, and not one more at each try.
        """
        if not self._asking.acquire(timeout=ASK_S):
            return SLOW
        try:
            return self.map_port(ports) if num_kept == self._num_kept else NOT_ASKED
        finally:
            self._asking.release()

    def map_port(self, ports: Mapping[str, int]) -> RouterAnswer:
        """Map a port of the router to the one that this node has on the router's network, or renew its lease."""
        # NAT-PMP first, because a router answers at once or never; a port that UPnP has mapped stays with UPnP.
        by_pmp = ABSENT if self._router else self._map_by_pmp(ports)
        if by_pmp.state not in (RouterState.ABSENT, RouterState.REFUSED):
            return by_pmp
        by_upnp = self._map_by_upnp(ports)
        if by_upnp.state is RouterState.ABSENT:
            self._router = None
            return by_pmp
        return by_upnp

    def _map_by_upnp(self, ports: Mapping[str, int]) -> RouterAnswer:
        router = self._find_router()
        if router is None:
            return ABSENT
        port = ports.get(router.lanaddr)
        if port is None:
            return _elsewhere(router.lanaddr)
        self._remove_permanent(router)
        host = _outer_host(router)
        if not is_public_host(host):
            return _without_public_address(host)
        try:
            outer = self._add(router, port)
        # The library raises nothing more precise; what the router says goes into the answer.
        except Exception as error:
            return RouterAnswer(state=RouterState.REFUSED, words=f"the router refuses to map a port: {error}")
        self._router, self._outer, self._lease_s = router, outer, LEASE_S
        return _mapped(host, outer)

    def _map_by_pmp(self, ports: Mapping[str, int]) -> RouterAnswer:
        router = self._find_pmp_router()
        if router is None:
            return ABSENT
        try:
            own_host = router.own_host()
        except PmpSilentError:
            return ABSENT
        port = ports.get(own_host)
        try:
            host = router.outer_host()  # is there a router that could forward anything?
            if port is None:
                return _elsewhere(own_host)
            if not is_public_host(host):
                return _without_public_address(host)
            outer, lease_s = router.map_port(port, outer=self._outer or port, lease_s=LEASE_S)
        except PmpSilentError:
            return ABSENT
        except PmpError as error:
            return RouterAnswer(state=RouterState.REFUSED, words=f"the router refuses to map a port: {error}")
        self._pmp, self._outer, self._lease_s = (router, port), outer, lease_s
        return _mapped(host, outer)

    def remove(self) -> None:
        """Remove the mapping, if there is one, once no other thread asks the router."""
        with self._asking:
            self._remove()

    def _remove(self) -> None:
        if self._pmp is not None:
            router, port = self._pmp
            self._pmp = None
            try:
                router.unmap_port(port)
            except PmpError as error:
                log.warning("port %d of the router stays mapped until its lease ends: %s", self._outer, error)
        if self._router is None:
            return
        try:
            self._router.deleteportmapping(self._outer, TCP)
        except Exception as error:  # as above
            log.warning("port %d of the router is still mapped: %s", self._outer, error)
        else:
            self._forget_permanent()
        self._router = None

    def _find_router(self) -> Any:
        router = miniupnpc.UPnP()
        router.discoverdelay = DISCOVER_MS
        try:
            if self._description_url:
                router.selectigd(self._description_url)
            else:
                router.discover()
                router.selectigd()
        except Exception as error:  # as above
            log.debug("no router: %s", error)
            return None
        return router if _is_router(router) else None

    def _add(self, router: Any, port: int) -> int:
        """Map a free port of the router, the same one if possible.

        Raises:
            Exception: the router refuses.
        """
        drawn = [self._random.randrange(DRAWN_FROM, DRAWN_TO) for _ in range(DRAWN_PORTS)]
        for outer in dict.fromkeys((self._outer or port, port, *drawn)):
            there = router.getspecificportmapping(outer, TCP)
            if there is not None and there[:2] != (router.lanaddr, port):
                continue  # it belongs to another machine or program
            try:
                self._add_one(router, outer, port)
            except Exception as error:  # as above
                if TAKEN not in str(error):
                    raise
            else:
                return outer
        raise LookupError("all ports that were tried are taken")

    def _add_one(self, router: Any, outer: int, port: int) -> None:
        try:
            router.addportmapping(outer, TCP, router.lanaddr, port, DESCRIPTION, "", LEASE_S)
        except Exception as error:  # as above
            if ONLY_PERMANENT not in str(error):
                raise
            self._note_permanent(outer, port)  # before it exists, so that a crash between the two leaves a note
            router.addportmapping(outer, TCP, router.lanaddr, port, DESCRIPTION, "", 0)

    # ---- permanent mappings

    def _note_permanent(self, outer: int, port: int) -> None:
        write_private(self._file, json.dumps({"router_port": outer, "port": port}) + "\n", is_new=False)

    def _remove_permanent(self, router: Any) -> None:
        """Remove the permanent mapping of an earlier run, unless it is in use."""
        if self._outer:
            return
        try:
            noted = json.loads(self._file.read_bytes())
            outer, port = int(noted["router_port"]), int(noted["port"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s can't be read, so no old port mapping is removed: %s", self._file, error)
            return
        there = router.getspecificportmapping(outer, TCP)
        if there is not None and there[:2] == (router.lanaddr, port):  # otherwise somebody else has it now
            try:
                router.deleteportmapping(outer, TCP)
            except Exception as error:  # as above
                log.warning("port %d of the router is still mapped by an earlier run: %s", outer, error)
                return
        self._forget_permanent()

    def _forget_permanent(self) -> None:
        """Remove the note. One that stays costs the next start one question to the router."""
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s can't be removed: %s", self._file, error)


def _is_router(router: Any) -> bool:
    """True for a router. Without one, the library selects any device that speaks UPnP, such as a television."""
    for ask in (router.externalipaddress, router.statusinfo):
        with suppress(Exception):
            ask()
            return True
    return False


def _outer_host(router: Any) -> str:
    """The router's own address on its outer side; empty if it has or tells none."""
    try:
        return str(router.externalipaddress() or "")
    except Exception as error:  # as above
        log.debug("the router tells no address: %s", error)
        return ""


def _mapped(host: str, outer: int) -> RouterAnswer:
    return RouterAnswer(
        state=RouterState.MAPPED,
        words=f"the router forwards port {outer} of {host} to this node",
        address=f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{outer}",
    )


def _elsewhere(host: str) -> RouterAnswer:
    words = f"the router would forward to {host}, where this node does not listen"
    return RouterAnswer(state=RouterState.ELSEWHERE, words=words)


def _without_public_address(host: str) -> RouterAnswer:
    if is_carrier_grade(host):
        words = f"the router has the address {host} of carrier-grade NAT, which nobody reaches from outside"
        return RouterAnswer(state=RouterState.SHARED, words=words)
    if host and host != "0.0.0.0":
        words = f"the router has the private address {host}, so another router is in front of it"
        return RouterAnswer(state=RouterState.INNER, words=words)
    return RouterAnswer(state=RouterState.NO_ADDRESS, words="the router has no public address")
