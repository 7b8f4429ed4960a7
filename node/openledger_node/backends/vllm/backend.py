"""The vLLM backend: a step reads the next tokens of answers that a vLLM server generates by itself.

vLLM batches, caches and samples on its own, so prompts are handed to it whole, and a poll takes the tokens that have
come. vLLM draws them, and they are not the pure function of seed and position that our engines share.
"""

import hmac
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ...engine.backend import BackendSettings, BatchRow, Draw, Drawn, HostAdapter, Profile
from ...errors import ModelError
from ...models.adapter_files.layout import read_layout
from ...models.adapter_source import AdapterSource
from ...models.bases import gguf_of, weight_files
from ...models.decoder_config import end_ids
from ..served.client import Client, Reply, ServerLostError, reason_of
from ..served.texts import Text, Texts
from .server import KEY_VARIABLE, NAME, SERVED_NAME, OwnServer, attach, start_server
from .stream import PATH, Stream, completion_body

OLDEST = (0, 32)
"""Older versions ignore the ranks and scalings of single modules of an adapter, without an error."""

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmAdapter:
    """The folder from which the server reads an adapter."""

    folder: str
    size_bytes: int  # of the weights file


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
    if gguf_of(folder):
        raise ModelError(
            f"backend vllm reads safetensors, and {folder.name} is a GGUF file: set [inference] backend to "
            "torch_lora or llamacpp, or base to the same model's safetensors"
        )
    if settings.server_url:
        return VllmBackend(attach(settings.server_url), settings, (folder.name, str(folder)))
    context = _text_config(folder).get("max_position_embeddings")
    server = start_server(settings, folder.resolve(), context)
    return VllmBackend(server.client, settings, (SERVED_NAME,), server)


class VllmBackend:
    """Keeps each sequence's tokens, and the stream in which vLLM continues them."""

    has_taps = False

    def __init__(
        self, client: Client, settings: BackendSettings, names: tuple[str, ...], server: OwnServer | None = None
    ) -> None:
        """Check the server, which must serve the base under one of `names`, or from a folder of such a name."""
        self._client = client
        self._server = server
        self._batch_max = settings.batch_max
        self._adapters: set[AdapterId] = set()
        self._texts = Texts(NAME, self._open_stream)
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
        folder = Path(source.folder).resolve()
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
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._texts.join(sequence_id, adapter_id)

    def leave(self, sequence_id: str) -> None:
        """End a sequence, even in the middle of an answer."""
        self._texts.leave(sequence_id)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Append each row's tokens, start the streams that do not run yet, and wait for each requested token.

        Returns:
            The drawn token of each row; none for a row that vLLM refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        _follow_grammars(rows)
        return self._texts.step(rows)

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run rows as `step` does, but wait only for the first token, so that a long prompt holds up no other answer.

        Returns:
            The drawn token of each row, and LATER for a row that must be polled again; none for a row that vLLM
            refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        _follow_grammars(rows)
        return self._texts.poll(rows)

    def close(self) -> None:
        """End all streams, and the server if this node started it."""
        self._texts.close()
        if self._server:
            self._server.close()

    def _open_stream(self, text: Text, draw: Draw) -> Stream:
        body = completion_body(
            text.adapter_id or self._model,
            text.ids,
            draw.sampling,
            num_tokens_max=min(draw.sampling.max_tokens, self._profile.context_max - len(text.ids)),
            end_ids=self._profile.end_ids,
            cache_salt=self._salt(text.payer),
        )
        return Stream(
            self._client,
            PATH,
            prompt_ids=text.ids,
            sampling=draw.sampling,
            body=body,
            arrival=self._texts.arrival,
        )

    def _salt(self, payer: str) -> str:
        """One salt a payer; others who use the operator's server can't guess it."""
        return hmac.digest(self._salt_key, payer.encode(), "sha256").hex()


def _follow_grammars(rows: tuple[BatchRow, ...]) -> None:
    """Let our own grammars follow; vLLM has a mask of its own, and ours notices a token that does not fit."""
    for row in rows:
        if row.draw and row.draw.allowed:
            row.draw.allowed.words()


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
        draws_elsewhere=True,
        block_bytes=0,
        base_bytes=sum(file.stat().st_size for file in weight_files(folder)),
        end_ids=end_ids(folder),
    )


def _text_config(folder: Path) -> dict[str, Any]:
    """The base's config, or its text part for a model of images and text."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    part: dict[str, Any] = config.get("text_config", config)
    return part
