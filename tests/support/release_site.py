"""A maker of releases on loopback: keys, tiny wheels, signed manifests, and a server that can misbehave."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from openledger_node.operator.updates.manifest import SCHEMA, key_id, signed_bytes

FAR_S = 4_000_000_000


def new_key(seed: int = 1) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def manifest_fields(site: str, wheel: bytes, lock: bytes, version: str, /, **changes: Any) -> dict[str, Any]:
    """The signed part of a manifest whose files lie at `site`."""
    name = f"openledger_node-{version}-py3-none-any.whl"
    return {
        "schema": SCHEMA,
        "version": version,
        "minimum": "0.1.0",
        "notes": "Answers are faster.",
        "expires": datetime.fromtimestamp(FAR_S, UTC).isoformat(),
        "wheel": {"url": f"{site}/{name}", "sha256": hashlib.sha256(wheel).hexdigest(), "size": len(wheel)},
        "lock": {"url": f"{site}/run.lock", "sha256": hashlib.sha256(lock).hexdigest(), "size": len(lock)},
        **changes,
    }


def signed_manifest(fields: dict[str, Any], *keys: Ed25519PrivateKey) -> bytes:
    signatures = [{"key": key_id(public(key)), "signature": key.sign(signed_bytes(fields)).hex()} for key in keys]
    return json.dumps({"signed": fields, "signatures": signatures}).encode()


def tiny_wheel(path: Path, version: str, modules: dict[str, str]) -> Path:
    """A wheel of `openledger-node` with these modules and its console script."""
    info = f"openledger_node-{version}.dist-info"
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: openledger-node\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nopenledger-node = openledger_node.cli.main:main\n",
    }
    wheel = path / f"openledger_node-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        lines = []
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(text.encode())}")
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))
    return wheel


class ReleaseSite:
    """The files of a site by path; a function in place of bytes answers by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []


@contextmanager
def release_site() -> Iterator[ReleaseSite]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            content = site.files.get(self.path)
            if callable(content):
                content(self)
                return
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = ReleaseSite(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
