"""The laboratory of `home.py`: an internet, hosts on it, and homes behind routers of five kinds.

Each line into the internet is an address of its own /16. Addresses are of internet scope for a node; no packet leaves
this machine.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path

from namespaces import Machine, NamespaceError

BRIDGE, LINE, LAN, INNER = "br0", "line", "lan", "inner"
HOME_NETWORK = "192.168.1"
"""All homes use the same one, as real homes do."""

ROUTERS_CARRIER = "100.64.0"


class Line(StrEnum):
    """How a machine is connected with the internet."""

    PUBLIC = "public"
    UPNP = "upnp"
    NAT_PMP = "nat-pmp"
    KEEPS_PORTS = "port-keeping"
    RANDOM_PORTS = "random-port"
    CARRIER = "carrier-grade"


NAT_RULES = """
table inet filter {{
  chain miniupnpd {{ }}
  chain prerouting_miniupnpd {{ }}
  chain postrouting_miniupnpd {{ }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "{inside}" accept
    ct status dnat accept
    jump miniupnpd
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname "{outside}" ct state established,related accept
    iifname "{outside}" drop
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    jump prerouting_miniupnpd
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    oifname "{outside}" masquerade {how}
  }}
}}
"""
"""A home router's: who is inside may dial out, and nobody may dial in unless a mapping leads inside."""

MINIUPNPD = """
ext_ifname={outside}
listening_ip={inside}
enable_natpmp={pmp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=no
lease_file={folder}/leases
uuid=5a34308c-1a2c-4546-ac5d-7663dd01dca1
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def why_no_line(line: Line) -> str:
    """Return why this machine can't make a line of this kind; empty if it can."""
    needs_program = line in (Line.UPNP, Line.NAT_PMP, Line.CARRIER) and find_miniupnpd() is None
    return "miniupnpd is not installed" if needs_program else ""


def find_miniupnpd() -> str | None:
    return shutil.which("miniupnpd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")


class Internet:
    """A switch that every line leads to."""

    def __init__(self, folder: Path) -> None:
        self._switch = Machine()
        self._switch.run("ip", "link", "add", BRIDGE, "type", "bridge")
        self._switch.run("ip", "link", "set", BRIDGE, "up")
        self._numbers = count(1)
        self._folder = folder

    def close(self) -> None:
        """Let go of the switch."""
        self._switch.close()

    @contextmanager
    def host(self) -> Iterator[tuple[Machine, str]]:
        """A machine with an address of the internet, and that address."""
        machine = Machine()
        try:
            yield machine, self._connect(machine)
        finally:
            machine.close()

    @contextmanager
    def home(self, line: Line, number: int) -> Iterator[tuple[Machine, str]]:
        """A machine on a line of this kind, and the address that the internet sees; homes have different numbers.

        Raises:
            NamespaceError: this machine can't make such a line.
        """
        with ExitStack() as stack:
            if line is Line.PUBLIC:
                yield stack.enter_context(self.host())
                return
            router, address = stack.enter_context(self.host())
            if line is Line.CARRIER:  # the carrier's router has the address, and the home's has one of the carrier's
                carrier, router = router, Machine()
                stack.callback(router.close)
                carrier.plug(INNER, router, LINE)
                carrier.address(INNER, f"{ROUTERS_CARRIER}.1/24")
                router.address(LINE, f"{ROUTERS_CARRIER}.{number + 1}/24")
                router.route_by(f"{ROUTERS_CARRIER}.1")
                translate(carrier, inside=INNER)
            machine = Machine()
            stack.callback(machine.close)
            router.plug(LAN, machine, LINE)
            router.address(LAN, f"{HOME_NETWORK}.1/24")
            machine.address(LINE, f"{HOME_NETWORK}.{number + 1}/24")
            machine.route_by(f"{HOME_NETWORK}.1")
            translate(router, inside=LAN, how="random,fully-random" if line is Line.RANDOM_PORTS else "")
            if line in (Line.UPNP, Line.NAT_PMP, Line.CARRIER):
                folder = self._folder / f"router-{next(self._numbers)}"
                stack.enter_context(mapping_on_request(router, folder, line))
            yield machine, address

    def _connect(self, machine: Machine) -> str:
        """Give a machine a line, with an address in a /16 of its own."""
        number = next(self._numbers)
        address = f"11.{number // 250 * 4 + number % 250 + 1}.{number % 200 + 1}.7"
        self._switch.plug(f"line-{number}", machine, LINE)
        self._switch.run("ip", "link", "set", f"line-{number}", "master", BRIDGE)
        machine.address(LINE, f"{address}/8")
        machine.run("ip", "route", "add", "default", "dev", LINE)
        return address


def translate(router: Machine, *, inside: str, how: str = "") -> None:
    """Make a machine a router with NAT, and a firewall that drops what nobody inside asked for."""
    router.forward()
    router.run("nft", "-f", "-", text=NAT_RULES.format(inside=inside, outside=LINE, how=how))


@contextmanager
def mapping_on_request(router: Machine, folder: Path, line: Line) -> Iterator[None]:
    """Have a router map ports for its home by UPnP or by NAT-PMP, as the line says, or by both.

    Raises:
        NamespaceError: miniupnpd is not installed, or does not start.
    """
    program = find_miniupnpd()
    if program is None:
        raise NamespaceError("miniupnpd is not installed")
    folder.mkdir()
    file, log = folder / "miniupnpd.conf", folder / "miniupnpd.log"
    spoken = {"upnp": line is not Line.NAT_PMP, "pmp": line is not Line.UPNP}
    words = {name: "yes" if is_spoken else "no" for name, is_spoken in spoken.items()}
    file.write_text(MINIUPNPD.format(outside=LINE, inside=LAN, folder=folder, **words))
    router.run("ip", "route", "add", "239.0.0.0/8", "dev", LAN)
    # The shell ends it once this process has ended, however that came about.
    command = ["sh", "-c", '"$@" & read _; kill $!', "sh", program, "-d", "-f", str(file), "-P", str(folder / "pid")]
    with router.entered(), log.open("w") as out:
        shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out)
    assert shell.stdin is not None
    try:
        yield
    finally:
        shell.stdin.close()
        shell.wait()
