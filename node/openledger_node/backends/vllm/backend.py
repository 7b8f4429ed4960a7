"""The vLLM backend: a step reads the next tokens of answers that a vLLM server generates by itself.

vLLM batches, caches and samples on its own, so prompts are handed to it whole, and a poll takes the tokens that have
come. vLLM draws them, and they are not the pure function of seed and position that our engines share.
"""

import hmac
import json
import logging
import re
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ...engine.backend import LATER, BackendSettings, BatchRow, Draw, Drawn, HostAdapter, Profile
from ...errors import ModelError
from ...models.adapter_files.layout import read_layout
from ...models.adapter_source import AdapterSource
from ...models.decoder_config import end_ids
from .client import Client, Reply, ServerLostError, reason_of
from .server import KEY_VARIABLE, SERVED_NAME, OwnServer, attach, start_server
from .stream import RequestRefusedError, Stream, completion_body

OLDEST = (0, 32)
"""Older versions ignore the ranks and scalings of single modules of an adapter, without an error."""

POLL_S = 0.02
"""The longest wait of a poll; after it the engine looks for new requests."""

TOGETHER_S = 0.002
"""Tokens of one step of vLLM arrive within this time, and make one step here."""

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmAdapter:
    """The folder from which the server reads an adapter."""

    folder: str
    size_bytes: int  # of the weights file


@dataclass(slots=True, kw_only=True)
class _Text:
    """A joined sequence: all its tokens so far, and the stream that continues them."""

    model: str  # the server's name for it
    payer: str = ""
    ids: list[int] = field(default_factory=list)
    stream: Stream | None = None

    @property
    def is_ready(self) -> bool:
        """True if its next token, or its end, has come."""
        return self.stream is not None and self.stream.is_ready


def open_backend(settings: BackendSettings) -> "VllmBackend":
    """Start a server, or attach to the operator's, and check what it serves.

    Raises:
        ModelError: says what to install, to start or to set.
    """
    if settings.base_folder is None:
        raise ModelError("backend vllm needs a real base: set [inference] base")
    if settings.quantisation not in ("auto", "none"):
        raise ModelError(
            f"[inference] quantisation is {settings.quantisation}, but vLLM quantises by its own flags: leave it at "
            "auto, and add --quantization … to [inference] server_command"
        )
    folder = Path(settings.base_folder)
    if settings.server_url:
        return VllmBackend(attach(settings.server_url), settings, (folder.name, str(folder)))
    context = _text_config(folder).get("max_position_embeddings")
    server = start_server(settings, folder.resolve(), context)
    return VllmBackend(server.client, settings, (SERVED_NAME,), server)


class VllmBackend:
    """Keeps each sequence's tokens, and the stream in which vLLM continues them."""

    def __init__(
        self, client: Client, settings: BackendSettings, names: tuple[str, ...], server: OwnServer | None = None
    ) -> None:
        """Check the server, which must serve the base under one of `names`, or from a folder of such a name."""
        self._client = client
        self._server = server
        self._batch_max = settings.batch_max
        self._adapters: set[AdapterId] = set()
        self._texts: dict[str, _Text] = {}
        self._arrival = threading.Condition()  # of anything in any stream
        self._salt_key = secrets.token_bytes(32)
        _check_version(client)
        self._model, context = _find_base(client, names)
        _check_loading(client)
        self._profile = _profile(settings, context)

    @property
    def profile(self) -> Profile:
        """A profile without blocks, because the server manages its own cache."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> VllmAdapter:
        """Check the files as every backend must; the server reads them when the adapter is loaded."""
        if len(source.parts) != 1 or source.parts[0].weight != 1:
            raise AdapterRefusedError(
                "backend vllm serves an adapter as it is: no weights, and no weighted sets of adapters"
            )
        folder = Path(source.parts[0].folder).resolve()
        return VllmAdapter(folder=str(folder), size_bytes=read_layout(folder).size_bytes)

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Have the server read and keep an adapter.

        Raises:
            AdapterRefusedError: vLLM refuses it; the message has its reason.
        """
        assert isinstance(adapter, VllmAdapter), "it was read here"
        # In place, because the operator's server may still have it from an earlier engine.
        body = {"lora_name": adapter_id, "lora_path": adapter.folder, "load_inplace": True}
        reply = self._client.ask("POST", LOAD, body)
        if reply.status != 200:
            raise AdapterRefusedError(f"vLLM does not load the adapter: {reason_of(reply.text)}")
        self._adapters.add(adapter_id)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Have the server forget an adapter; it frees the weights when others need the memory."""
        self._adapters.remove(adapter_id)
        reply = self._client.ask("POST", UNLOAD, {"lora_name": adapter_id})
        if reply.status not in (200, 404):
            raise ServerLostError(f"vLLM does not unload an adapter: {reason_of(reply.text)}")

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Start a sequence; nothing runs before its first token is requested."""
        assert len(self._texts) < self._batch_max, "the scheduler counts places"
        assert sequence_id not in self._texts, "it has left before it joins again"
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._texts[sequence_id] = _Text(model=adapter_id or self._model)

    def leave(self, sequence_id: str) -> None:
        """End a sequence, even in the middle of an answer."""
        _stop(self._texts.pop(sequence_id))

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Append each row's tokens, start the streams that do not run yet, and wait for each requested token.

        Returns:
            The drawn token of each row; none for a row that vLLM refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        drawing = self._begin(rows)
        drawn = {sequence_id: self._next(self._texts[sequence_id], draw) for sequence_id, draw in drawing.items()}
        return {sequence_id: each for sequence_id, each in drawn.items() if each is not None}

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run rows as `step` does, but wait only for the first token, so that a long prompt holds up no other answer.

        Returns:
            The drawn token of each row, and LATER for a row that must be polled again; none for a row that vLLM
            refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        drawing = self._begin(rows)
        self._wait([self._texts[sequence_id] for sequence_id in drawing])
        drawn = {
            sequence_id: self._next(text, draw) if text.is_ready else LATER
            for sequence_id, draw in drawing.items()
            if (text := self._texts[sequence_id])
        }
        return {sequence_id: each for sequence_id, each in drawn.items() if each is not None}

    def close(self) -> None:
        """End all streams, and the server if this node started it."""
        for text in self._texts.values():
            _stop(text)
        if self._server:
            self._server.close()

    def _begin(self, rows: tuple[BatchRow, ...]) -> dict[str, Draw]:
        """Append each row's tokens, start the streams that do not run yet, and return the rows to draw for."""
        drawing = {row.sequence_id: draw for row in rows if (draw := self._take(row))}
        for sequence_id, draw in drawing.items():
            self._start(self._texts[sequence_id], draw)  # start all streams before waiting for the first
        return drawing

    def _wait(self, texts: list[_Text]) -> None:
        """Wait for a first token and a moment for others of the same step of vLLM, but never long."""
        with self._arrival:
            if self._arrival.wait_for(lambda: any(text.is_ready for text in texts), POLL_S):
                self._arrival.wait_for(lambda: all(text.is_ready for text in texts), TOGETHER_S)

    def _take(self, row: BatchRow) -> Draw | None:
        """Append a row's tokens, and drop the stream if it generated others."""
        text = self._texts[row.sequence_id]
        assert row.position <= len(text.ids), "a row continues where the last one ended"
        text.ids[row.position :] = row.token_ids
        text.payer = row.payer
        if text.stream and (text.stream.position, text.stream.last) != (len(text.ids), text.ids[-1]):
            _stop(text)
        if row.draw and row.draw.allowed:
            row.draw.allowed.words()  # vLLM has a mask of its own; ours notices a token that does not fit
        return row.draw

    def _start(self, text: _Text, draw: Draw) -> None:
        if text.stream and text.stream.sampling != draw.sampling:
            _stop(text)
        if text.stream is None:
            num_tokens_max = min(draw.sampling.max_tokens, self._profile.context_max - len(text.ids))
            body = completion_body(
                text.model,
                text.ids,
                draw.sampling,
                num_tokens_max=num_tokens_max,
                end_ids=self._profile.end_ids,
                cache_salt=self._salt(text.payer),
            )
            text.stream = Stream(
                self._client, prompt_ids=text.ids, sampling=draw.sampling, body=body, arrival=self._arrival
            )

    def _salt(self, payer: str) -> str:
        """One salt a payer; others who use the operator's server can't guess it."""
        return hmac.digest(self._salt_key, payer.encode(), "sha256").hex()

    def _next(self, text: _Text, draw: Draw) -> Drawn | None:
        """Read the next token of a text; if its stream has ended, start another."""
        try:
            for _ in range(2):
                self._start(text, draw)
                assert text.stream is not None, "it was started"
                if drawn := text.stream.next():
                    return drawn
                _stop(text)
        except RequestRefusedError as refusal:
            log.warning(
                "vLLM refuses a request with status %s", refusal
            )  # status only: the reason may quote the request
            _stop(text)
            return None
        raise ServerLostError("the vLLM server ended an answer before its first token")


def _stop(text: _Text) -> None:
    if text.stream:
        text.stream.close()
        text.stream = None


def _find_base(client: Client, names: tuple[str, ...]) -> tuple[str, int]:
    """The server's name for the base, and its context length."""
    reply = client.ask("GET", "/v1/models")
    if reply.status in (401, 403):
        raise ModelError(f"the vLLM server wants a key: start the daemon with {KEY_VARIABLE} set to it")
    if reply.status != 200:
        raise ModelError(f"no vLLM server: it answered {reply.status} to /v1/models: set [inference] server_url")
    bases = [card for card in reply.fields["data"] if not card.get("parent")]
    for card in bases:
        if card["id"] in names or Path(card.get("root") or "").name in names:
            return card["id"], card["max_model_len"]
    served = ", ".join(card["id"] for card in bases)
    raise ModelError(
        f"the vLLM server serves {served}, not {names[0]}: start it with --served-model-name {names[0]} and that "
        "base's folder, or set [inference] base to what it serves"
    )


def _check_loading(client: Client) -> None:
    """Require that adapters can be loaded at run time; if not, the server answers an empty request with 404."""
    reply: Reply = client.ask("POST", LOAD, {"lora_name": "", "lora_path": ""})
    if reply.status == 404:
        raise ModelError(
            "the vLLM server loads no adapters while it runs: start it with --enable-lora, and with "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"
        )


def _check_version(client: Client) -> None:
    reply = client.ask("GET", "/version")
    version = str(reply.fields.get("version", "")) if reply.status == 200 else ""
    if (match := re.match(r"(\d+)\.(\d+)", version)) and (int(match[1]), int(match[2])) < OLDEST:
        raise ModelError(
            f"the vLLM server is of version {version}: {OLDEST[0]}.{OLDEST[1]} is the oldest that will do"
        )


def _profile(settings: BackendSettings, context: int) -> Profile:
    assert settings.base_folder is not None, "it was checked"
    folder = Path(settings.base_folder)
    return Profile(
        backend="vllm",
        kernel="vllm",
        device=settings.device,
        dtype=settings.dtype,
        quantisation="none",
        threads=settings.threads,
        context_max=min(settings.context_max, context),
        vocab_size=_text_config(folder)["vocab_size"],
        num_blocks=0,
        schedules_itself=True,
        block_bytes=0,
        base_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        end_ids=end_ids(folder),
    )


def _text_config(folder: Path) -> dict[str, Any]:
    """The base's config, or its text part for a model of images and text."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    part: dict[str, Any] = config.get("text_config", config)
    return part
