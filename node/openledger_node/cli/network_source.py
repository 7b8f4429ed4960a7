"""A network.json from a file, stdin or a URL, compared with its hash before anything in it is read."""

import re
import socket
import sys
from contextlib import suppress
from hashlib import sha256 as hash_of
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

from ..chain.client import ChainClient
from ..chain.identity import check_block_numbers, check_identity, seconds_of_blocks
from ..errors import ConfigError, InputError, NetworkError
from ..network_file import FILE_BYTES_MAX, Network, network_from_json
from ..p2p.scopes import Scope, scope_of_host
from .chain import open_chain
from .render import say

STDIN: Final = "-"
FRAGMENT: Final = "sha256="
"""A URL may carry its hash: `https://example.org/network.json#sha256=HASH`. A fragment is never sent."""

FETCH_TIMEOUT_S: Final = 20.0
REDIRECTS_MAX: Final = 3

HASHES_KEPT: Final = 256
"""Blocks whose hashes a contract can read, which is how long a draw stands on a network of value."""

DRAW_LASTS_S: Final = 480
"""A slow endpoint and a few failed attempts fit into eight minutes."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")


def is_url(source: str) -> bool:
    """True for a source that is downloaded."""
    return source.startswith(("http://", "https://"))


def fetch_network(source: str, sha256: str | None = None) -> Network:
    """Read a network.json, compare it with its hash, and check it against its chain.

    Raises:
        InputError: a URL comes without a hash, or the hash is none.
        ConfigError: the content has another hash, or is not a network.json.
        NetworkError: it can't be downloaded.
        ChainError: the chain does not answer, is a different chain, or its contracts are wired wrongly.
    """
    network = network_from_json(read_source(source, sha256), source="stdin" if source == STDIN else source)
    check_chain(network)
    return network


def check_chain(network: Network) -> None:
    """Check a network against its chain.

    Raises:
        ChainError: the chain does not answer, is a different chain, or its contracts are wired wrongly.
    """
    from ..chain.wiring import check_wiring  # imports the call encoder, a third of a second

    with open_chain(network) as client:
        check_identity(client, network)
        check_draws(client, is_development=network.is_development)
        check_wiring(client, network)


def check_draws(client: ChainClient, *, is_development: bool) -> None:
    """Require that draws work on a chain, and warn where a node has little time to show its receipts.

    Raises:
        ChainError: contracts see other block numbers than the endpoint, or it does not answer.
    """
    check_block_numbers(client)
    if not is_development and (lasts_s := seconds_of_blocks(client, HASHES_KEPT)) < DRAW_LASTS_S:
        say(
            f"[yellow]{HASHES_KEPT} blocks of this chain last {lasts_s} s.[/] A node must show its receipts within "
            "that time after each draw, or it pays a fee: use an endpoint that is never behind"
        )


def read_source(source: str, sha256: str | None = None) -> bytes:
    """The bytes of a network.json, whose hash is compared if there is one. At most a byte too many is read.

    Raises:
        InputError: a URL comes without a hash or with two different ones, or the hash is none.
        ConfigError: the content has another hash, or the file can't be read.
        NetworkError: it can't be downloaded.
    """
    if is_url(source):
        source, _, fragment = source.partition("#")
        in_url = fragment.removeprefix(FRAGMENT)
        if sha256 and in_url and sha256.lower() != in_url.lower():
            raise InputError(f"--sha256 and the end of {source} give two different hashes: leave the wrong one out")
        wanted: str | None = _wanted_hash(sha256 or in_url, source)
        content = download(source)
    else:
        wanted = _wanted_hash(sha256, source) if sha256 is not None else None
        content = _read(source)
    found = hash_of(content).hexdigest()
    if wanted is not None and found != wanted:
        raise ConfigError(
            f"{source} is not the file that this hash is of, so nothing in it was read. Its SHA-256 is {found}, and "
            f"{wanted} was given. Ask the network's founder for the hash of the current file"
        )
    return content


def _wanted_hash(text: str, source: str) -> str:
    if not text:
        raise InputError(
            f"{source} needs --sha256 HASH, or #sha256=HASH at its end, so that nobody on the way, or at that web "
            "site, can send you to another network: take the hash from the network's founder"
        )
    if not _HASH.fullmatch(text.lower()):
        raise InputError(f"{text[:80]!r} is not a SHA-256: it has 64 hexadecimal digits, as `sha256sum` prints them")
    return text.lower()


def _read(source: str) -> bytes:
    try:
        if source == STDIN:
            return sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        with Path(source).open("rb") as stream:
            return stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from error


# ---- Downloading


def download(url: str) -> bytes:
    """Download a network.json; what exceeds its size limit by more than a byte stays there.

    Each name is looked up once, and the address that was checked is the one that is asked. Otherwise a web site could
    name a public address for the check and one of this network for the request.

    Raises:
        NetworkError: it can't be downloaded, or it leads where it must not.
    """
    try:
        target, is_typed, may_be_inside = httpx.URL(url), True, False
        for _ in range(REDIRECTS_MAX + 1):
            hosts = _checked_hosts(target, is_typed=is_typed, may_be_inside=may_be_inside)
            may_be_inside = may_be_inside or (is_typed and _is_inside(hosts))
            found = _get_from_any(target, hosts)
            if isinstance(found, bytes):
                return found
            target, is_typed = found, False
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"cannot fetch {url}: {error}") from error
    except (ImportError, ValueError) as error:  # from the library, for a kind of proxy that it can't use
        raise NetworkError(
            f"cannot fetch {url}: the proxy that the environment names can't be used here ({error}). Download the "
            "file in another way, and join it by its path"
        ) from error
    raise NetworkError(f"cannot fetch {url}: it redirects more than {REDIRECTS_MAX} times")


def _checked_hosts(url: httpx.URL, *, is_typed: bool, may_be_inside: bool) -> tuple[str, ...]:
    """The IP addresses at which a URL may be asked; none if its name can't be looked up, as behind some proxies.

    Raises:
        NetworkError: it is no web address, is plain HTTP beyond this machine, or is led into a private network.
    """
    if url.scheme not in ("http", "https") or not url.host:
        raise NetworkError(f"cannot fetch {url}: it is not a web address")
    hosts = hosts_of(url.host)
    # Only encryption proves a name, so without it this machine must be named by its address.
    if url.scheme == "http" and (not hosts or not _is_this_machine(url.host)):
        raise NetworkError(
            f"cannot fetch {url}: only this machine, by its address, is asked without encryption. Use https://"
        )
    public = tuple(host for host in hosts if not _is_inside((host,)))
    if is_typed:
        return public or hosts
    if not may_be_inside and len(public) < len(hosts):
        raise NetworkError(
            f"cannot fetch {url}: a web site redirects there, and it is an address of this machine or of a private "
            "network. Open it yourself if you trust it"
        )
    return hosts


def _get_from_any(url: httpx.URL, hosts: tuple[str, ...]) -> bytes | httpx.URL:
    """Ask the first host that can be reached; a proxy, or a name that can't be looked up here, is asked by name."""
    if not hosts or _has_proxy(url):
        return _get(url, None)
    for host in hosts[:-1]:
        with suppress(httpx.ConnectError, httpx.ConnectTimeout):
            return _get(url, host)
    return _get(url, hosts[-1])


def _get(url: httpx.URL, host: str | None) -> bytes | httpx.URL:
    """The content at a URL, or the URL that it redirects to; `host` is the IP address to ask instead of its name."""
    headers = {"Accept-Encoding": "identity"}  # a compressed answer could unpack to any size
    asked, extensions, mounts = url, dict[str, str](), dict[str, None]()
    if host is not None:
        asked, headers["Host"] = url.copy_with(host=host), url.netloc.decode("ascii")
        extensions["sni_hostname"] = url.host  # the name that the certificate must have
        mounts = {"http://": None, "https://": None}  # no proxy, which the library would choose by the IP address
    content, until_s = b"", monotonic() + FETCH_TIMEOUT_S
    with (
        httpx.Client(timeout=FETCH_TIMEOUT_S, headers=headers, mounts=mounts) as client,
        client.stream("GET", asked, extensions=extensions) as response,
    ):
        if response.has_redirect_location:
            return url.join(response.headers["Location"])
        if response.is_error:
            raise NetworkError(f"cannot fetch {url}: {response.status_code} {response.reason_phrase}")
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > FILE_BYTES_MAX:
                break
            if monotonic() > until_s:
                raise NetworkError(f"cannot fetch {url}: it is not complete after {FETCH_TIMEOUT_S:.0f} s")
    return content[: FILE_BYTES_MAX + 1]


def _has_proxy(url: httpx.URL) -> bool:
    """True if the environment names a proxy for a URL."""
    return not getproxies().keys().isdisjoint((url.scheme, "all")) and not proxy_bypass(url.host)


def _is_this_machine(name: str) -> bool:
    """True for `localhost` and for a loopback address as such; other names may change between two questions."""
    return name == "localhost" or scope_of_host(name) is Scope.MACHINE


def _is_inside(hosts: tuple[str, ...]) -> bool:
    """True if one of the IP addresses is this machine's, or of a private network."""
    return any((scope_of_host(host) or Scope.MACHINE) < Scope.INTERNET for host in hosts)


def hosts_of(name: str) -> tuple[str, ...]:
    """The IP addresses of a name or an address; none if it can't be looked up, as behind some proxies."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))
