"""`network check`: can others join by a network.json, and do its bootstrap nodes answer?"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from ..errors import ChainError, ConfigError, InputError, NetworkError
from ..network_file import Network, current_network, network_bytes, network_from_json
from ..p2p.scopes import Scope, host_of, scope_of_host
from .daemon_client import load_settings, open_node_home
from .network_source import check_chain, hosts_of, read_source
from .render import emit_json, out_console, plain

ADDRESS_BEGINS: Final = ("/ip4/", "/ip6/", "/dns")
PROBLEMS_FOUND: Final = 8
URL_UNKNOWN: Final = "URL"
Probe = Callable[[Iterable[str]], Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFinding:
    """One fact about a network.json. Without a problem, `fix` is empty."""

    part: str  # chain, rpc, or bootstrap
    subject: str  # the id of the network, an endpoint, or an address
    found: str
    fix: str = ""


def check(
    source: Annotated[
        str | None,
        typer.Argument(metavar="FILE|ADDRESS", help="A network.json, or the address of one bootstrap node."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Others must be able to join from the internet; else that is only told.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a network.json: its chain, and whether its bootstrap nodes answer. Exit code 8 if something is wrong.

    By default this node's network is checked. Each bootstrap node must prove its peer id. The hash is the one that
    others join by.
    """
    content, network = _read(source)
    if network is None:
        findings = bootstrap_findings([source or ""], is_public=public)
    else:
        findings = [chain_finding(network), *public_findings(network, is_public=public)]
    digest = sha256(content).hexdigest() if network else None
    problems = sum(bool(finding.fix) for finding in findings)
    if as_json:
        fields = {"network": network.network if network else None, "sha256": digest, "problems": problems}
        emit_json("network_check", {**fields, "findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
        if digest:
            out_console.print(f"\nsha256 {digest}")
    if problems:
        raise typer.Exit(PROBLEMS_FOUND)


def _read(source: str | None) -> tuple[bytes, Network | None]:
    """The network and the bytes of its file; no network for the address of one bootstrap node."""
    if source is not None and source.startswith(ADDRESS_BEGINS) and not Path(source).exists():
        return b"", None
    if source is not None:
        content = read_source(source)
        return content, network_from_json(content, source=source)
    home = open_node_home()
    network = current_network(home, load_settings(home).node.network)
    if network is None:
        raise ConfigError("this node is on no network: name a network.json, or the address of a bootstrap node")
    return network_bytes(network), network


def _show(findings: Iterable[NetworkFinding]) -> None:
    for finding in findings:
        mark = "[red]FAIL[/]" if finding.fix else "[green]ok  [/]"
        out_console.print(f"{mark} {finding.part:<9} {plain(finding.subject)}: {plain(finding.found)}")
        if finding.fix:
            out_console.print(f"               → {plain(finding.fix)}")


# ---- The checks


def check_public(network: Network, *, probe: Probe | None = None) -> None:
    """Require that others can join a network from the internet.

    Raises:
        ConfigError: an endpoint or a bootstrap node can't be used from the internet.
    """
    problems = [each for each in public_findings(network, is_public=True, probe=probe) if each.fix]
    if problems:
        first, more = problems[0], f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise ConfigError(f"{first.part} {first.subject}: {first.found}. {first.fix}{more}")


def chain_finding(network: Network) -> NetworkFinding:
    """The network's contracts are on its chain."""
    try:
        check_chain(network)
    except ChainError as error:
        fix = "Check the endpoints in `rpc`, and that the file is the founder's"
        return NetworkFinding(part="chain", subject=network.network, found=str(error), fix=fix)
    return NetworkFinding(part="chain", subject=network.network, found="its contracts are there")


def public_findings(network: Network, *, is_public: bool, probe: Probe | None = None) -> list[NetworkFinding]:
    """The endpoints and bootstrap nodes of a network."""
    findings = [_endpoint_finding(url) for url in network.rpc] if is_public else []
    if not network.bootstrap and is_public:
        fix = "Run `openledger-node network bootstrap` on a public machine, and name its address"
        findings.append(NetworkFinding(part="bootstrap", subject="none", found="nobody could find a peer", fix=fix))
    return findings + bootstrap_findings(network.bootstrap, is_public=is_public, probe=probe)


def _endpoint_finding(url: str) -> NetworkFinding:
    parts = urlsplit(url)
    scopes = {_scope(host) for host in hosts_of(parts.hostname or "")}
    found, fix = "on the internet", ""
    if not scopes or min(scopes) < Scope.INTERNET:
        found = "its name can't be looked up" if not scopes else "only some machines can ask it"
        fix = "Name an endpoint that everybody can ask"
    elif parts.username or parts.password:
        found, fix = "it carries a user name, which everybody would read", "Name an endpoint without one"
    elif parts.scheme != "https":
        found, fix = "without encryption, anybody on the way can change its answers", "Name an endpoint with https://"
    return NetworkFinding(part="rpc", subject=parts.netloc.rpartition("@")[2], found=found, fix=fix)


def bootstrap_findings(
    addresses: Iterable[str], *, is_public: bool, probe: Probe | None = None
) -> list[NetworkFinding]:
    """One finding per bootstrap node. Addresses that can't be used are not dialled."""
    from ..p2p.probe import probe_all  # imports libp2p, over a second

    unfit = {address: _why_unfit(address, is_public=is_public) for address in addresses}
    fit = [address for address, (found, _) in unfit.items() if not found]
    answering = (probe or probe_all)(fit) if fit else ()
    findings = []
    for address, (found, fix) in unfit.items():
        if not found and address not in answering:
            found, fix = (
                "nobody answers there, or another peer does",
                "Check that the node runs, and that firewalls accept TCP connections to its port",
            )
        findings.append(
            NetworkFinding(
                part="bootstrap", subject=address, found=found or "answers, and proves its peer id", fix=fix
            )
        )
    return findings


def _why_unfit(address: str, *, is_public: bool) -> tuple[str, str]:
    """The reason why an address can't be a bootstrap node's, and the remedy; empty if it can."""
    from ..p2p.transport import peer_id_from_address, relay_of  # imports trio

    example = "Write /ip4/<public address>/tcp/<port>/p2p/<peer id>"
    try:
        peer_id_from_address(address)
    except NetworkError as error:
        return str(error), example
    if relay_of(address):
        return "it leads over a relay, and newcomers know none", example
    if not is_public:
        return "", ""
    parts = address.split("/")
    hosts = (host,) if (host := host_of(address)) else hosts_of(parts[2])
    if not hosts:
        return f"{parts[2]} can't be looked up", example
    scopes = {_scope(each) for each in hosts}
    if min(scopes) < Scope.INTERNET:
        return "the internet can't dial it", f"Run the node on a public machine, or with --announce. {example}"
    return "", ""


def _scope(host: str) -> Scope:
    return scope_of_host(host) or Scope.MACHINE


# ---- The lines that a founder publishes


def join_line(digest: str, url: str | None) -> str:
    """The command by which others join."""
    return f"openledger-node network join {quote(url or URL_UNKNOWN)} --sha256 {digest}"


def check_url(url: str) -> None:
    """Check the URL at which a network.json will be published.

    Raises:
        InputError: nobody could join from there.
    """
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme == "https" and bool(parts.hostname) and not parts.fragment
    except ValueError:  # half of an IPv6 address
        is_sound = False
    if not is_sound:
        raise InputError(f"--url is {url[:80]!r}: `network join` takes https:// and a host, without a `#`")
