"""The llama.cpp backend: a step reads the next tokens of answers that llama-server generates by itself.

llama-server batches, caches and draws on its own, so prompts are handed to it whole, and a poll takes the tokens that
have come. It draws them, and they are not the pure function of seed and position that our engines share. It reads its
adapters when it starts, so it is started again for new ones, while no sequence runs.
"""

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from gguf import LlamaFileType

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ...engine.backend import (
    AdapterMustWaitError,
    BackendSettings,
    BatchRow,
    Draw,
    Drawn,
    HostAdapter,
    Profile,
)
from ...errors import ModelError
from ...models.adapter_source import AdapterSource
from ...models.bases import gguf_of
from ...models.decoder_config import end_ids
from ...models.gguf_files.header import GgufHeader, read_header
from ..served.client import Client, ServerLostError
from ..served.texts import Text, Texts
from .adapters import AdapterConverter, LlamaAdapter
from .plan import plan_server, sizes_of
from .server import KEY_VARIABLE, NAME, OwnServer, Program, attach, check_apart, find_program, serve_arguments
from .slots import Place, Slots
from .stream import PATH, Stream, WholeAnswer, completion_body

ALLOWED_BIAS = 1000.0
"""Added to the logits of the tokens that a grammar allows, if they are fewer than the others; no logit comes near."""

BANNED_BIAS = -1e9

BURST_MIN, BURST_MAX = 4, 32
"""Tokens that are asked for in one piece where llama-server holds tokens back."""

AS_STORED = ("auto", "none")
"""Settings of `quantisation` that leave a GGUF file as it is."""


def open_backend(settings: BackendSettings) -> "LlamaBackend":
    """Start a server of the base's GGUF file, or attach to the operator's, and check what it serves.

    Raises:
        ModelError: says what to install, to start or to set.
    """
    if settings.base_folder is None:
        raise ModelError("backend llamacpp needs a real base: set [inference] base")
    folder = Path(settings.base_folder)
    if (gguf := gguf_of(folder)) is None:
        raise ModelError(
            f"backend llamacpp serves GGUF files, and {folder.name} has none: set [inference] base to a GGUF model, "
            "or backend to torch_lora"
        )
    if settings.quantisation not in AS_STORED:
        raise ModelError(
            f"[inference] quantisation is {settings.quantisation}, but llama.cpp serves a GGUF file as it is stored: "
            "leave it out, and choose the file by its quantisation"
        )
    if settings.server_url:
        return LlamaBackend(settings, read_header(gguf), client=attach(settings.server_url))
    return LlamaBackend(settings, read_header(gguf), program=find_program(settings.server_command))


class LlamaBackend:
    """Keeps each sequence's tokens, the stream in which llama-server continues them, and its adapters."""

    has_taps = False

    def __init__(
        self,
        settings: BackendSettings,
        header: GgufHeader,
        *,
        program: Program | None = None,
        client: Client | None = None,
    ) -> None:
        """Start `program`, or use the operator's server behind `client`."""
        self._settings = settings
        self._header = header
        self._sizes = sizes_of(header)
        self._program = program
        self._server: OwnServer | None = None
        self._own_folder = None if settings.cache_folder else tempfile.TemporaryDirectory(prefix="openledger-lora-")
        self._cache = Path(self._own_folder.name if self._own_folder else settings.cache_folder or "").resolve()
        self._cache.mkdir(parents=True, exist_ok=True)
        self._converter = AdapterConverter(header, self._cache)
        self._adapters: dict[AdapterId, LlamaAdapter] = {}
        self._numbers: dict[str, int] = {}  # of the converted files that the server has
        self._texts = Texts(NAME, self._open_stream)
        self._places: dict[Stream, Place] = {}  # of answers that the server works on
        try:
            if client is None:
                self._start_first()
            else:
                self._use(client, num_tokens=0)
                check_apart(client, [{"id": 0, "scale": 0.0}] if self._numbers else [])
        except ModelError:
            self.close()
            raise
        self._profile = _profile(settings, header, self._context)

    @property
    def profile(self) -> Profile:
        """A profile without blocks, because the server manages its own cache."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> LlamaAdapter:
        """Convert the files to GGUF, in any thread."""
        return self._converter.convert(source)

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Serve an adapter from the next sequence on; the server may have to start again for it.

        Raises:
            AdapterMustWaitError: sequences run, and the server has not read this adapter.
            AdapterRefusedError: the operator's server does not have it.
        """
        assert isinstance(adapter, LlamaAdapter), "it was read here"
        if adapter.file.name not in self._numbers:
            if self._program is None:
                raise AdapterRefusedError(
                    f"the llama-server that you run does not have this adapter: add `--lora {adapter.file}` to its "
                    "arguments and start it again"
                )
            if len(self._texts):
                raise AdapterMustWaitError
        self._adapters[adapter_id] = adapter

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Forget an adapter; the server's memory for it is free after its next start."""
        del self._adapters[adapter_id]

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Start a sequence; the server starts again before it if there are adapters that it has not read.

        Raises:
            AdapterRefusedError: its adapter is not loaded, or the server does not start with it.
        """
        assert len(self._texts) < self._settings.batch_max, "the scheduler counts places"
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        if any(adapter.file.name not in self._numbers for adapter in self._adapters.values()):
            assert not len(self._texts), "an adapter that the server lacks was loaded while no sequence ran"
            self._restart(adapter_id)
        self._texts.join(sequence_id, adapter_id)

    def leave(self, sequence_id: str) -> None:
        """End a sequence, even in the middle of an answer."""
        self._texts.leave(sequence_id)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Append each row's tokens, start the streams that do not run yet, and wait for each requested token.

        Returns:
            The drawn token of each row; none for a row that llama-server refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        return self._texts.step(rows)

    def poll(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run rows as `step` does, but wait only for the first token, so that a long prompt holds up no other answer.

        Returns:
            The drawn token of each row, and LATER for a row that must be polled again; none for a row that
            llama-server refuses to run.

        Raises:
            ServerLostError: the server has ended.
        """
        return self._texts.poll(rows)

    def close(self) -> None:
        """End all streams, and the server if this node started it."""
        self._texts.close()
        if self._server:
            self._server.close()
        if self._own_folder:
            self._own_folder.cleanup()

    # ---- the server

    def _start_first(self) -> None:
        """Start with the adapters of the last time, or if that fails without any."""
        files = self._files_of_last_time()
        try:
            self._start(files)
        except ModelError:
            if not files:
                raise
            self._start([])

    def _start(self, files: list[Path]) -> None:
        """Start a server with these adapters."""
        assert self._program is not None, "an own server has a program"
        plan = plan_server(self._sizes, self._settings, adapter_bytes=sum(file.stat().st_size for file in files))
        arguments = serve_arguments(self._program, self._settings, self._header.file, plan, files)
        self._server = OwnServer(self._program, arguments, threads=self._settings.threads, folder=self._cache)
        self._server.wait_ready()
        self._use(self._server.client, num_tokens=plan.kv_tokens)

    def _restart(self, adapter_id: AdapterId | None) -> None:
        """Start the server again with all loaded adapters, or as before if it does not start with the new ones.

        Raises:
            AdapterRefusedError: it does not, and `adapter_id` is one of them.
        """
        assert self._server is not None, "the operator's server has all adapters that were loaded"
        before = [self._cache / name for name in self._numbers]
        self._server.close()
        files = {adapter.file.name: adapter.file for adapter in self._adapters.values()}
        if gone := [file for file in files.values() if not file.exists()]:
            raise ServerLostError(f"the converted adapter {gone[0]} is gone: it is converted again")
        try:
            self._start(list(files.values()))
        except ModelError as error:
            self._start(before)
            new = {name for name, each in self._adapters.items() if each.file.name not in self._numbers}
            for name in new:
                del self._adapters[name]
            if adapter_id in new:
                raise AdapterRefusedError(f"llama-server does not start with this adapter: {error}") from error
        self._remember(list(files))

    def _use(self, client: Client, *, num_tokens: int) -> None:
        """Read what a server has: its adapters, places and context; `num_tokens` of all places, 0 if unknown."""
        self._client = client
        listed = _asked(client, "/lora-adapters")
        self._numbers = {Path(str(each["path"])).name: int(each["id"]) for each in listed}
        found = _asked(client, "/props")
        if self._server is None and Path(found["model_path"]).name != self._header.file.name:
            raise ModelError(
                f"the llama-server serves {found['model_path']}: start it with --model {self._header.file}, or set "
                "[inference] base to what it serves"
            )
        context = found["default_generation_settings"]["n_ctx"]
        self._context = min(self._settings.context_max, self._sizes.context_max, context)
        self._slots = Slots(found["total_slots"], num_tokens or context)

    @property
    def _list_file(self) -> Path:
        return self._cache / f"llamacpp-{self._header.file.stat().st_ino}.json"

    def _files_of_last_time(self) -> list[Path]:
        """The adapters that the last server of this base had, so that this one need not start again for them."""
        with suppress(OSError, ValueError):
            names = json.loads(self._list_file.read_text())
            return [file for name in names if (file := self._cache / str(name)).is_file()]
        return []

    def _remember(self, names: list[str]) -> None:
        with suppress(OSError):  # then the next start only takes longer
            self._list_file.write_text(json.dumps(names))

    # ---- its answers

    def _open_stream(self, text: Text, draw: Draw) -> Stream | None:
        """Have llama-server continue a text; None while others take all places or all room."""
        self._free_places()
        sampling = draw.sampling
        num_left = min(sampling.max_tokens, self._profile.context_max - len(text.ids))
        place = self._slots.take((text.payer, text.adapter_id), text.ids, len(text.ids) + num_left)
        if place is None:
            return None
        # NOTE: a mask and these penalties change with each token, so they are a request for each token.
        is_single = draw.allowed is not None or bool(sampling.frequency_penalty or sampling.presence_penalty)
        num_whole = 1 if is_single else min(text.num_whole, num_left)
        text.num_whole = 0
        body = completion_body(
            text.ids,
            sampling,
            num_tokens_max=num_whole or num_left,
            slot=place.slot,
            may_reuse=place.may_reuse,
            adapters=self._scales(text.adapter_id),
            is_whole=num_whole > 0,
            biases=biases_of(draw, self._profile.vocab_size) if is_single else None,
        )
        stream: Stream = (WholeAnswer if num_whole else Stream)(
            self._client,
            PATH,
            prompt_ids=text.ids,
            sampling=sampling,
            body=body,
            arrival=self._texts.arrival,
            on_close=lambda: self._end(text, stream),
        )
        self._places[stream] = place
        return stream

    def _free_places(self) -> None:
        """Free the places of answers that have ended, even if not all of their tokens were taken yet."""
        for stream in [stream for stream in self._places if stream.is_over]:
            self._slots.free(self._places.pop(stream))

    def _end(self, text: Text, stream: Stream) -> None:
        """Free a closed stream's place; where tokens are missing, the next ones are asked for in one piece."""
        if place := self._places.pop(stream, None):
            self._slots.free(place)
        if stream.has_gap:
            text.num_whole_last = min(BURST_MAX, max(BURST_MIN, 2 * text.num_whole_last))
            text.num_whole = text.num_whole_last

    def _scales(self, adapter_id: AdapterId | None) -> dict[int, float]:
        """The scale of each adapter by number; without any, llama-server would apply those that it started with."""
        if adapter_id is None:
            return {0: 0.0} if self._numbers else {}
        return {self._numbers[self._adapters[adapter_id].file.name]: 1.0}


def biases_of(draw: Draw, vocab_size: int) -> dict[int, float]:
    """Additions to the logits for one token, from a grammar's mask and the penalties on the answer so far."""
    biases: dict[int, float] = {}
    tokens, counts = np.unique(np.asarray(draw.output_ids, dtype=np.int64), return_counts=True)
    for token, count in zip(tokens.tolist(), counts.tolist(), strict=True):
        biases[token] = -draw.sampling.presence_penalty - draw.sampling.frequency_penalty * count
    words = draw.allowed.words() if draw.allowed else None
    if words is None:
        return biases
    is_allowed = np.unpackbits(words.view(np.uint8), bitorder="little")[:vocab_size].astype(bool)
    allowed, banned = np.flatnonzero(is_allowed), np.flatnonzero(~is_allowed)
    listed, bias = (allowed, ALLOWED_BIAS) if len(allowed) < len(banned) else (banned, BANNED_BIAS)
    for token in listed.tolist():
        biases[token] = biases.get(token, 0.0) + bias
    return biases


def _asked(client: Client, path: str) -> Any:
    """The server's answer about itself.

    Raises:
        ModelError: it wants a key, or is no llama-server.
    """
    reply = client.ask("GET", path)
    if reply.status in (401, 403):
        raise ModelError(f"the llama.cpp server wants a key: start the daemon with {KEY_VARIABLE} set to it")
    if reply.status != 200:
        raise ModelError(
            f"no llama-server: it answered {reply.status} to {path}: set [inference] server_url to a llama-server"
        )
    return reply.fields


def _profile(settings: BackendSettings, header: GgufHeader, context: int) -> Profile:
    assert settings.base_folder is not None, "it was checked"
    return Profile(
        backend="llamacpp",
        kernel="llama.cpp",
        device=settings.device,
        dtype=settings.dtype,
        quantisation=stored_as(header),
        threads=settings.threads,
        context_max=context,
        vocab_size=header.tensors["token_embd.weight"].shape[0],
        num_blocks=0,
        schedules_itself=True,
        block_bytes=0,
        base_bytes=sum(tensor.size_bytes for tensor in header.tensors.values()),
        end_ids=end_ids(Path(settings.base_folder)),
    )


def stored_as(header: GgufHeader) -> str:
    """The quantisation of most of a file's tensors, such as `q4_1`."""
    with suppress(ValueError, KeyError):
        return (
            LlamaFileType(header.fields["general.file_type"])
            .name.removeprefix("MOSTLY_")
            .removeprefix("ALL_")
            .lower()
        )
    return "gguf"
