"""A network.json from a file, stdin or a URL, compared with its hash before anything in it is read."""

import re
import socket
import sys
from hashlib import sha256 as hash_of
from pathlib import Path
from time import monotonic
from typing import Final

import httpx

from ..chain.identity import check_identity
from ..errors import ConfigError, InputError, NetworkError
from ..network_file import FILE_BYTES_MAX, Network, network_from_json
from ..p2p.scopes import Scope, scope_of_host
from .chain import open_chain

STDIN: Final = "-"
FRAGMENT: Final = "sha256="
"""A URL may carry its hash: `https://example.org/network.json#sha256=HASH`. A fragment is never sent."""

FETCH_TIMEOUT_S: Final = 20.0
REDIRECTS_MAX: Final = 3
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
        check_wiring(client, network)


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

    Raises:
        NetworkError: it can't be downloaded, or a redirect leads where it must not.
    """
    try:
        target = httpx.URL(url)
        is_home = _is_inside(target)
        for _ in range(REDIRECTS_MAX + 1):
            _check_target(target, is_home=is_home)
            found = _get(target)
            if isinstance(found, bytes):
                return found
            target = found
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"cannot fetch {url}: {error}") from error
    raise NetworkError(f"cannot fetch {url}: it redirects more than {REDIRECTS_MAX} times")


def _get(url: httpx.URL) -> bytes | httpx.URL:
    """The content at a URL, or the URL that it redirects to."""
    headers = {"Accept-Encoding": "identity"}  # a compressed answer could unpack to any size
    content, until_s = b"", monotonic() + FETCH_TIMEOUT_S
    with httpx.stream("GET", url, timeout=FETCH_TIMEOUT_S, headers=headers) as response:
        if response.next_request is not None:
            return response.next_request.url
        response.raise_for_status()
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > FILE_BYTES_MAX:
                break
            if monotonic() > until_s:
                raise NetworkError(f"cannot fetch {url}: it is not complete after {FETCH_TIMEOUT_S:.0f} s")
    return content[: FILE_BYTES_MAX + 1]


def _check_target(url: httpx.URL, *, is_home: bool) -> None:
    """Refuse plain HTTP beyond this machine, and redirects from the internet to a private address.

    Raises:
        NetworkError: the URL is one of these.
    """
    if url.scheme not in ("http", "https") or not url.host:
        raise NetworkError(f"cannot fetch {url}: it is not a web address")
    scopes = _scopes(url)
    if url.scheme == "http" and (not scopes or max(scopes) > Scope.MACHINE):
        raise NetworkError(f"cannot fetch {url}: only this machine is asked without encryption. Use https://")
    if not is_home and _is_inside(url):
        raise NetworkError(
            f"cannot fetch {url}: a web site redirects there, and it is an address of this machine or of a private "
            "network. Open it yourself if you trust it"
        )


def _is_inside(url: httpx.URL) -> bool:
    """True if a URL leads to this machine or a private network, as far as the name can be looked up."""
    return any(scope < Scope.INTERNET for scope in _scopes(url))


def _scopes(url: httpx.URL) -> list[Scope]:
    return [scope_of_host(host) or Scope.MACHINE for host in hosts_of(url.host)]


def hosts_of(name: str) -> tuple[str, ...]:
    """The IP addresses of a name or an address; none if it can't be looked up, as behind some proxies."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))
