"""The manifest of a release, and its files: what is refused, whoever serves it."""

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trio
from support.release_site import FAR_S, ReleaseSite, manifest_fields, new_key, public, release_site, signed_manifest

from openledger_node.errors import ConfigError, NetworkError
from openledger_node.operator.updates import fetch
from openledger_node.operator.updates.fetch import fetch_file, find_manifest
from openledger_node.operator.updates.manifest import (
    MANIFEST_BYTES_MAX,
    RELEASE_KEYS,
    ReleaseFile,
    ReleaseManifest,
    read_manifest,
)
from openledger_node.upkeep_tables import UpdateConfig, read_update_keys

KEY, OTHER, THIRD = new_key(1), new_key(2), new_key(3)
SITE = "https://releases.example"
NOW_S = 1_800_000_000.0


def fields(**changes: Any) -> dict[str, Any]:
    return manifest_fields(SITE, b"wheel", b"lock", "0.2.0", **changes)


def read(content: bytes, *, keys: tuple[Any, ...] = (KEY,), signatures_min: int = 1) -> ReleaseManifest:
    trusted = [public(key) for key in keys]
    return read_manifest(content, keys=trusted, signatures_min=signatures_min, now_s=NOW_S)


def test_a_signed_manifest_is_read() -> None:
    manifest = read(signed_manifest(fields(), KEY))
    assert manifest.to_plain() == {
        "version": "0.2.0",
        "minimum": "0.1.0",
        "notes": "Answers are faster.",
        "expires": "2096-10-02T07:06:40Z",
    }
    assert manifest.wheel.name == "openledger_node-0.2.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("signers", "trusted", "signatures_min", "holds"),
    [
        ((KEY,), (KEY,), 1, True),
        ((OTHER,), (KEY,), 1, False),
        ((), (KEY,), 1, False),
        ((KEY, KEY), (KEY, OTHER), 2, False),  # one key twice
        ((KEY, OTHER), (KEY, OTHER, THIRD), 2, True),
        ((KEY, THIRD), (THIRD,), 1, True),  # both the former and the next key sign while keys change
    ],
)
def test_only_enough_trusted_keys_count(
    signers: tuple[Any, ...], trusted: tuple[Any, ...], signatures_min: int, holds: bool
) -> None:
    content = signed_manifest(fields(), *signers)
    if holds:
        assert str(read(content, keys=trusted, signatures_min=signatures_min).version) == "0.2.0"
        return
    with pytest.raises(NetworkError, match="valid signatures of trusted keys"):
        read(content, keys=trusted, signatures_min=signatures_min)


@pytest.mark.parametrize("name", ["version", "minimum", "notes", "expires", "wheel", "lock", "schema"])
def test_each_signed_field_is_covered_by_the_signature(name: str) -> None:
    outer = json.loads(signed_manifest(fields(), KEY))
    value = outer["signed"][name]
    outer["signed"][name] = {**value, "sha256": "0" * 64} if isinstance(value, dict) else f"{value}1"
    with pytest.raises(NetworkError, match="has 0 valid signatures"):
        read(json.dumps(outer).encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"signed": 1, "signatures": []}', b'{"signed": {}, "signatures": [1]}',
     b'{"signed": {}}', b"[" * 5_000, b'{"signed": {"a": NaN}, "signatures": []}'],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(NetworkError, match=r"no manifest|valid signatures"):
        read(content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "openledger.update/2"}, "its schema"),
        ({"version": "new"}, "can't read it"),
        ({"notes": "two\nlines"}, "no line of text"),
        ({"notes": "x" * 301}, "no line of text"),
        ({"expires": "soon"}, "can't read it"),
        ({"wheel": {"url": f"{SITE}/x.whl", "sha256": "0" * 64, "size": 1}}, "none of openledger-node"),
        ({"lock": {"url": f"{SITE}/l", "sha256": "0" * 63, "size": 1}}, "no SHA-256"),
        ({"lock": {"url": f"{SITE}/l", "sha256": "0" * 64, "size": 0}}, "no size"),
        ({"lock": {"url": "http://releases.example/l", "sha256": "0" * 64, "size": 1}}, "not encrypted"),
        ({"lock": {"url": "file:///etc/passwd", "sha256": "0" * 64, "size": 1}}, "not a URL"),
        ({"expires": "2026-01-01T00:00:00+00:00"}, "expired at 2026-01-01T00:00:00Z"),
    ],
)
def test_a_signed_manifest_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        read(signed_manifest(fields(**changes), KEY))


# ---- over the network


@pytest.fixture
def site() -> Iterator[ReleaseSite]:
    with release_site() as found:
        yield found


def fetch_manifest(config: UpdateConfig, *, now_s: float | None = None) -> ReleaseManifest:
    return trio.run(partial(find_manifest, config, now_s=now_s))


def config(site: ReleaseSite, **changes: Any) -> UpdateConfig:
    return UpdateConfig(**{"url": f"{site.url}/manifest.json", "keys": public(KEY), **changes})


def test_without_a_source_or_a_key_nothing_is_fetched(site: ReleaseSite) -> None:
    assert RELEASE_KEYS == ()
    with pytest.raises(ConfigError, match="there is no public one yet"):
        fetch_manifest(UpdateConfig())
    with pytest.raises(ConfigError, match="no key is trusted"):
        fetch_manifest(config(site, keys=""))
    assert site.asked == []


def test_a_manifest_comes_over_the_network(site: ReleaseSite) -> None:
    site.files["/manifest.json"] = signed_manifest(fields(), KEY)
    assert str(fetch_manifest(config(site), now_s=NOW_S).version) == "0.2.0"
    with pytest.raises(NetworkError, match="expired"):
        fetch_manifest(config(site), now_s=FAR_S + 1.0)


def answer(status: int, content: bytes = b"", **headers: str) -> Any:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return send


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(500), "status 500"),
        (answer(200, b"x" * (MANIFEST_BYTES_MAX + 1)), "more than the 65536 bytes"),
        (answer(302, Location="http://elsewhere.example/"), "a redirect is not followed"),
        (answer(302, Location="/manifest.json"), "TooManyRedirects"),
    ],
)
def test_a_server_that_misbehaves_is_named(site: ReleaseSite, reply: Any, words: str) -> None:
    site.files["/manifest.json"] = reply
    with pytest.raises(NetworkError, match=words):
        fetch_manifest(config(site), now_s=NOW_S)


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "60000")
    drip(handler)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    drip(handler)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte often enough that no read times out, until the node hangs up."""
    handler.connection.settimeout(0.02)
    with suppress(OSError):
        while True:
            handler.wfile.write(b"x")
            with suppress(TimeoutError):
                if not handler.connection.recv(1):
                    return


@pytest.mark.parametrize("reply", [drip_body, drip_headers])
def test_a_server_that_sends_for_ever_gets_its_time_and_no_more(
    site: ReleaseSite, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MANIFEST_S", 0.3)
    site.files["/manifest.json"] = reply
    began_s = time.monotonic()
    with pytest.raises(NetworkError, match="did not send it all within"):
        fetch_manifest(config(site), now_s=NOW_S)
    assert time.monotonic() - began_s < 20


def test_an_answer_is_never_unpacked(site: ReleaseSite) -> None:
    content = gzip.compress(bytes(10 * MANIFEST_BYTES_MAX))
    site.files["/manifest.json"] = answer(200, content, **{"Content-Encoding": "gzip"})
    with pytest.raises(NetworkError, match="no manifest"):
        fetch_manifest(config(site), now_s=NOW_S)


def file_at(site: ReleaseSite, content: bytes, *, stated: bytes) -> ReleaseFile:
    site.files["/run.lock"] = content
    lock = manifest_fields(site.url, b"wheel", stated, "0.2.0")["lock"]
    return ReleaseFile(url=lock["url"], sha256=lock["sha256"], size_bytes=lock["size"])


def test_a_file_has_its_name_only_with_the_right_digest(site: ReleaseSite, tmp_path: Path) -> None:
    assert fetch_file(file_at(site, b"lock", stated=b"lock"), tmp_path).read_bytes() == b"lock"
    (tmp_path / "run.lock").unlink()
    for content, words in (
        (b"lack", "SHA-256 differs"),
        (b"loc", "SHA-256 differs"),
        (b"lock more", "more than the 4"),
    ):
        with pytest.raises(NetworkError, match=words):
            fetch_file(file_at(site, content, stated=b"lock"), tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_keys_are_read_from_the_setting() -> None:
    key = public(KEY)
    assert read_update_keys(f" {key.upper()} , {public(OTHER)},{key}") == (key, public(OTHER))
    with pytest.raises(ConfigError, match="64 hex digits"):
        read_update_keys("abc")
