"""Downloads of a manifest and of a release's files: bounded, over encrypted connections, checked by digest."""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import trio

from ...errors import ConfigError, NetworkError, explain_disk
from ...upkeep_tables import UpdateConfig, read_update_keys, read_upkeep_url
from .manifest import MANIFEST_BYTES_MAX, RELEASE_KEYS, ReleaseFile, ReleaseManifest, read_manifest

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
REDIRECTS_MAX: Final = 5
MANIFEST_S: Final = 30.0
FILE_S: Final = 3_600.0

NO_SOURCE: Final = (
    "no source of updates is set, and there is no public one yet: set [update] url and [update] keys to those of the "
    "maker of your release"
)


async def find_manifest(config: UpdateConfig, *, now_s: float | None = None) -> ReleaseManifest:
    """Download and verify the manifest of the newest release.

    Raises:
        ConfigError: no source is set, or no key is trusted.
        NetworkError: there is no answer, or none that may be trusted.
    """
    keys = read_update_keys(config.keys) or RELEASE_KEYS
    if not config.url:
        raise ConfigError(NO_SOURCE)
    if not keys:
        raise ConfigError("no key is trusted: set [update] keys to the public keys of the maker of your release")
    content = bytearray()
    await _download(config.url, content.extend, size_max=MANIFEST_BYTES_MAX, within_s=MANIFEST_S)
    now_s = time.time() if now_s is None else now_s
    return read_manifest(bytes(content), keys=keys, signatures_min=config.signatures_min, now_s=now_s)


def fetch_file(file: ReleaseFile, into: Path) -> Path:
    """Download a file of a release into a folder, and check its digest before it has its name. Blocks.

    Raises:
        NetworkError: there is no answer, or another file than the manifest names.
        DiskError: the disk is full.
    """
    target, unfinished, digest = into / file.name, into / f"{file.name}.partial", hashlib.sha256()
    try:
        with unfinished.open("wb") as stream:

            def take(block: bytes) -> None:
                digest.update(block)
                stream.write(block)

            trio.run(partial(_download, file.url, take, size_max=file.size_bytes, within_s=FILE_S))
        if digest.hexdigest() != file.sha256:
            raise NetworkError(f"{file.name} is not the file that the manifest names: its SHA-256 differs")
        unfinished.replace(target)
    except OSError as error:
        raise explain_disk(error, into) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return target


async def _download(url: str, take: Callable[[bytes], object], *, size_max: int, within_s: float) -> None:
    """Pass the blocks of a file on to `take`, at most `size_max` bytes.

    The time is for all of it. A server that sends a byte now and then, even within the headers, gains nothing.

    Raises:
        NetworkError: there is no answer in time, it is too large, or a redirect leads to an unencrypted place.
    """
    host, size_bytes = httpx.URL(url).host, 0
    try:
        with trio.move_on_after(within_s) as scope:
            async with (
                httpx.AsyncClient(
                    timeout=TIMEOUT,
                    follow_redirects=True,
                    max_redirects=REDIRECTS_MAX,
                    event_hooks={"request": [_check_hop]},
                ) as client,
                client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise NetworkError(
                        f"{host} answered with status {response.status_code}: check the URL, or try later"
                    )
                async for block in response.aiter_raw():  # never decoded, so that no small answer becomes a large one
                    size_bytes += len(block)
                    if size_bytes <= size_max:
                        take(block)
                    else:
                        scope.cancel()  # which also ends the generators of the stream
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"{host} can't be reached ({type(error).__name__}): try again later") from error
    except ImportError as error:
        raise NetworkError(
            f"{host} can't be reached by a SOCKS proxy: set HTTPS_PROXY and ALL_PROXY to a URL that begins with "
            "http://, or unset them"
        ) from error
    if size_bytes > size_max:
        raise NetworkError(f"{host} sends more than the {size_max} bytes that are allowed")
    if scope.cancelled_caught:
        raise NetworkError(f"{host} did not send it all within {within_s:.0f} s: try again later")


async def _check_hop(request: httpx.Request) -> None:
    """Refuse a redirect to a place that is not encrypted; what it sends is checked anyway."""
    try:
        read_upkeep_url(str(request.url))
    except ConfigError as error:
        raise NetworkError(f"a redirect is not followed: {error}") from error
