"""Canonical JSON, frames, and the id of an adapter's manifest."""

from typing import Any

from openledger_protocol.adapter import adapter_id, manifest_from_json, registered_id
from openledger_protocol.codec import FrameDecoder, canonical_digest, canonical_json, encode_frame
from openledger_protocol.datanet import datanet_id
from openledger_protocol.primitives import check_address

from .common import Rules, bytes_of, hex_of


def registered_id_of(given: Any) -> str:
    return registered_id(check_address(given["owner"]), given["manifest_id"])


def datanet_id_of(given: Any) -> str:
    return datanet_id(check_address(given["creator"]), given["name"])


CODEC: Rules = {
    "canonical_json": lambda value: hex_of(canonical_json(value)),
    "canonical_digest": canonical_digest,
    "encode_frame": lambda message: hex_of(encode_frame(message)),
    "decode_frames": lambda received: FrameDecoder().feed(bytes_of(received)),
}
ADAPTER_ID: Rules = {
    "adapter_id": lambda fields: adapter_id(manifest_from_json(fields)),
    "registered_id": registered_id_of,
    "datanet_id": datanet_id_of,
}
