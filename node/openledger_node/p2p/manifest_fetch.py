"""An adapter's manifest from a peer, in one small message: a payer compares it with the chain before it buys."""

import trio

from openledger_protocol.adapter import AdapterManifest
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk, decode, encode

from ..errors import NetworkError
from .adapter_listing import MANIFEST_PATH, read_manifest
from .streams import MessageStream

ANSWER_S = 5.0
"""The peer has just won an award, so it is expected to answer at once."""


async def fetch_manifest(stream: trio.abc.Stream, id: AdapterId) -> AdapterManifest:
    """Ask a peer for the manifest of an adapter over an `adapter` stream, which is closed afterwards.

    Raises:
        NetworkError: the peer has gone, or is too slow.
        ProtocolError: it does not have the adapter, or sends another manifest.
    """
    messages = MessageStream(stream, frame_bytes_max=DATA_FRAME_BYTES_MAX)
    try:
        with trio.fail_after(ANSWER_S):
            await messages.send(encode(GetChunk(id=id, path=MANIFEST_PATH, index=0)))
            answer = decode(await messages.receive())
    except trio.TooSlowError as error:
        raise NetworkError(f"it took longer than {ANSWER_S:g} s to send a manifest") from error
    finally:
        await messages.aclose_shielded()
    if isinstance(answer, ErrorMessage):
        raise error_from_message(answer)
    if not isinstance(answer, ChunkMessage) or (answer.id, answer.path, answer.index) != (id, MANIFEST_PATH, 0):
        raise AdapterRefusedError("it sent something else in place of a manifest")
    return await trio.to_thread.run_sync(read_manifest, answer.data, id)
