"""Make and sign the manifest that `openledger-node update` reads.

python scripts/release_manifest.py new-key FILE             draw a signing key, and print its public key
python scripts/release_manifest.py make WHEEL LOCK --url URL --notes TEXT --key FILE [--key FILE] --out FILE
python scripts/release_manifest.py sign MANIFEST --key FILE         add the signature of a further key

The signing key is 32 bytes in hex. Keep it off the machine that serves the manifest. Make the manifest anew before it
expires, because nodes refuse an expired one.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from openledger_node.errors import NodeError
from openledger_node.operator.updates.manifest import SCHEMA, key_id, read_manifest, signed_bytes

KEY_BYTES: Final = 32
DAYS: Final = 30
WHEEL: Final = re.compile(r"openledger_node-([^-]+)-py3-none-any\.whl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    orders = parser.add_subparsers(dest="order", required=True)
    new = orders.add_parser("new-key", help="draw a signing key")
    new.add_argument("file", type=Path)
    make = orders.add_parser("make", help="make and sign a manifest")
    make.add_argument("wheel", type=Path)
    make.add_argument("lock", type=Path)
    make.add_argument("--url", required=True, help="folder that wheel and lock will be served from, over https")
    make.add_argument("--notes", required=True, help="one line that tells owners what is new")
    make.add_argument("--minimum", default="0.1.0", help="oldest version that can be updated to it")
    make.add_argument("--days", type=int, default=DAYS, help=f"days until it expires (default {DAYS})")
    make.add_argument("--key", type=Path, action="append", required=True, help="file of a signing key")
    make.add_argument("--out", type=Path, required=True)
    sign = orders.add_parser("sign", help="add a signature")
    sign.add_argument("manifest", type=Path)
    sign.add_argument("--key", type=Path, action="append", required=True)
    arguments = parser.parse_args()
    {"new-key": draw_key, "make": make_manifest, "sign": add_signatures}[arguments.order](arguments)


def draw_key(arguments: argparse.Namespace) -> None:
    """Write a new key that only its owner can read."""
    descriptor = os.open(arguments.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
    print(public_of(read_key(arguments.file)))


def make_manifest(arguments: argparse.Namespace) -> None:
    """Write the manifest of a wheel and its lock, signed by every key."""
    found = WHEEL.fullmatch(arguments.wheel.name)
    if found is None:
        sys.exit(f"{arguments.wheel.name} is no wheel of openledger-node")
    site = arguments.url.rstrip("/")
    signed = {
        "schema": SCHEMA,
        "version": found[1],
        "minimum": arguments.minimum,
        "notes": arguments.notes,
        "expires": (datetime.now(UTC) + timedelta(days=arguments.days)).isoformat(timespec="seconds"),
        "wheel": stated_file(arguments.wheel, site),
        "lock": stated_file(arguments.lock, site),
    }
    write_signed({"signed": signed, "signatures": []}, arguments.key, arguments.out)


def add_signatures(arguments: argparse.Namespace) -> None:
    """Add the signatures of further keys to a manifest."""
    write_signed(json.loads(arguments.manifest.read_text()), arguments.key, arguments.manifest)


def write_signed(manifest: dict[str, Any], key_files: list[Path], out: Path) -> None:
    """Sign, check the result as a node does, and write it."""
    keys = [read_key(file) for file in key_files]
    content = signed_bytes(manifest["signed"])
    by_key = {each["key"]: each for each in manifest["signatures"]}
    for key in keys:
        named = key_id(public_of(key))
        by_key[named] = {"key": named, "signature": key.sign(content).hex()}
    text = json.dumps({"signed": manifest["signed"], "signatures": list(by_key.values())}, indent=1) + "\n"
    try:
        read_manifest(
            text.encode(),
            keys=[public_of(key) for key in keys],
            signatures_min=len(keys),
            now_s=datetime.now(UTC).timestamp(),
        )
    except NodeError as error:
        sys.exit(f"nodes would refuse this manifest: {error}")
    out.write_text(text)
    print(f"{out}: version {manifest['signed']['version']}, until {manifest['signed']['expires']}")


def stated_file(file: Path, site: str) -> dict[str, Any]:
    """URL, digest and size of a file."""
    content = file.read_bytes()
    return {"url": f"{site}/{file.name}", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def read_key(file: Path) -> Ed25519PrivateKey:
    """Read a signing key."""
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text().strip()))
    except (OSError, ValueError):
        sys.exit(f"{file} is no signing key: draw one with `new-key`")


def public_of(key: Ed25519PrivateKey) -> str:
    """The public key in hex, as `[update] keys` takes it."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


if __name__ == "__main__":
    main()
