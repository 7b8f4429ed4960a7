"""The whole backend on Triton's interpreter beside plain torch, its oracle: from files to tokens."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from support.engine_events import events_in
from support.plain_adapter import write_adapter
from support.tiny import make_base
from torch import Tensor

from openledger_node.backends.cuda.backend import CudaBackend
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.placement import DTYPES, Placement
from openledger_node.engine import frames, probe
from openledger_node.engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Draw, Drawn
from openledger_node.engine.frames import Allow, EngineChunk, Finished, OpenEngine, Refused, Submit
from openledger_node.engine.worker import Link, Worker
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

CPU = torch.device("cpu")
GREEDY = SamplingParams(max_tokens=1, seed=1, temperature=0)
CONTEXT = 64
ANSWER = 4
TIMEOUT_S = 120.0
NUM_BLOCKS = 3  # two sequences need four

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
WINDOW = {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 1}
GEMMA = {"query_pre_attn_scalar": 20, "sliding_window": 7}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "qwen2 with windows": {"model_type": "qwen2", **WINDOW},
    "qwen3": {"model_type": "qwen3"},
    "gemma 2": {"model_type": "gemma2", "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, **GEMMA},
    "gemma 3": {
        "model_type": "gemma3_text", **GEMMA, "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 500.0, "factor": 8.0},
        },
    },
    "phi 3": {"model_type": "phi3"},
}  # fmt: skip

Both = tuple[CudaBackend, TorchLoraBackend]


@pytest.fixture(autouse=True)
def short_probes(monkeypatch: pytest.MonkeyPatch, fewer_programs: None) -> None:
    monkeypatch.setattr(probe, "PROMPT_TOKENS_MAX", 4)


def settings_of(base: Path, **changes: Any) -> BackendSettings:
    given = {"device": "cpu", "dtype": "float32", "threads": 1, "batch_max": 4, "context_max": CONTEXT, **changes}
    return BackendSettings(base_folder=str(base), adapter_bytes=1 << 20, acceleration="off", **given)


def on_kernels(settings: BackendSettings) -> CudaBackend:
    return CudaBackend(settings, Placement(CPU, DTYPES[settings.dtype]))


def open_both(base: Path, **changes: Any) -> Both:
    settings = settings_of(base, **changes)
    return on_kernels(settings), TorchLoraBackend(settings)


def source_of(folder: Path) -> AdapterSource:
    return AdapterSource(id=AdapterId(folder.name), folder=str(folder))


def load(backends: Both, *folders: Path) -> None:
    for backend in backends:
        for folder in folders:
            source = source_of(folder)
            backend.load_adapter(source.id, backend.read_adapter(source))


def rows_of(lengths: dict[str, int], seen: dict[str, int]) -> tuple[BatchRow, ...]:
    """The next tokens of sequences, each with four blocks of its own."""
    rows = []
    for name, length in lengths.items():
        number, first = list(seen).index(name), seen[name]
        ids = tuple((11 * at + 5 * number + 3) % 260 for at in range(first, first + length))
        blocks = tuple(range(4 * number, 4 * number + -(-(first + length) // BLOCK_TOKENS)))
        draw = Draw(sampling=GREEDY, position=first + length)
        rows.append(BatchRow(sequence_id=name, token_ids=ids, position=first, blocks=blocks, draw=draw))
    return tuple(rows)


def logits_of(backends: Both, adapters: dict[str, str | None], *steps: dict[str, int]) -> tuple[Tensor, Tensor]:
    """The logits of the same steps on both."""
    found: list[list[Tensor]] = [[], []]
    for backend, logits in zip(backends, found, strict=True):
        seen = dict.fromkeys(adapters, 0)
        for name, adapter in adapters.items():
            backend.join(name, AdapterId(adapter) if adapter else None)
        for lengths in steps:
            logits.append(backend.logits(rows_of(lengths, seen)))
            seen |= {name: seen[name] + length for name, length in lengths.items()}
        for name in adapters:
            backend.leave(name)
    return torch.cat(found[0]), torch.cat(found[1])


SEQUENCES = {"one": "whole", "twin": "whole", "other": "part", "bare": None}
STEPS = (
    {"one": 9, "twin": 2, "other": 9, "bare": 1},
    {"one": 8, "other": 1},
    dict.fromkeys(SEQUENCES, 1),
)


def adapters_for(base: Path, root: Path) -> tuple[Path, Path]:
    """One of all linear maps, and one of some with ranks of their own and DoRA."""
    modules = FUSED if "phi" in base.name else ALL
    part = (modules[0], "down_proj")
    return (
        write_adapter(base, root / "whole", seed=1, targets=modules),
        write_adapter(base, root / "part", seed=2, targets=part, r=3, rank_pattern={part[1]: 17}, use_dora=True),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_the_logits_of_plain_torch(family: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / family.replace(" ", "-"), **FAMILIES[family])
    backends = open_both(base)
    load(backends, *adapters_for(base, tmp_path))
    found, wanted = logits_of(backends, SEQUENCES, *STEPS)
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("quantisation", ["int8", "int4", "nf4"])
def test_a_quantised_base_has_the_logits_of_plain_torch(quantisation: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", hidden_size=64, intermediate_size=96, num_hidden_layers=1)
    backends = open_both(base, quantisation=quantisation)
    load(backends, *adapters_for(base, tmp_path))
    found, wanted = logits_of(backends, SEQUENCES, STEPS[1])
    assert torch.allclose(found, wanted, atol=1e-4)
    assert backends[0].profile.quantisation == quantisation


@pytest.mark.parametrize(("dtype", "error"), [("float16", 0.03), ("bfloat16", 0.2)])
def test_narrow_formats_are_close_to_float32(dtype: str, error: float, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=1, **FAMILIES["gemma 2"])
    backends = on_kernels(settings_of(base, dtype=dtype)), TorchLoraBackend(settings_of(base))
    load(backends, *adapters_for(base, tmp_path))
    found, wanted = logits_of(backends, SEQUENCES, STEPS[1])
    assert float((found - wanted).abs().max() / wanted.std()) < error


# ---- Through the worker: scheduling, residency and the cache of prefixes, as a daemon drives them.


class Watched:
    """A backend that notes the rows of its steps."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.steps: list[tuple[BatchRow, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        self.steps.append(rows)
        found: dict[str, Drawn] = self._backend.step(rows)
        return found

    def starts(self, name: str) -> list[int]:
        """The positions at which rows of a sequence of several tokens began."""
        rows = [row for step in self.steps for row in step if row.sequence_id == name]
        return [row.position for row in rows if len(row.token_ids) > 1]


class Daemon:
    """Our end of a worker's socket pair."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = frames.frame_decoder()
        self.tokens: dict[str, list[int]] = {}
        self._ended: set[str] = set()

    def send(self, *commands: Submit | Allow) -> None:
        self._connection.sendall(b"".join(map(frames.encode, commands)))

    def wait(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            for event in events_in(self._decoder, self._connection.recv(1 << 16)):
                assert not isinstance(event, Refused), event
                if isinstance(event, EngineChunk):
                    self.tokens.setdefault(event.sequence_id, []).extend(event.ids)
                elif isinstance(event, Finished):
                    self._ended.add(event.sequence_id)

    def wait_for_all(self, names: list[str]) -> None:
        self.wait(lambda: set(names) <= self._ended)


@contextmanager
def working(backend: Any, settings: BackendSettings) -> Iterator[Daemon]:
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    opened = OpenEngine(
        backend="torch_lora",
        settings=settings,
        prefill_tokens_max=16,
        adapter_cache_bytes=settings.adapter_bytes,
    )
    worker = Worker(Link(theirs), backend, opened)
    thread = threading.Thread(target=_run, args=(worker,))
    thread.start()
    with theirs, ours:
        yield Daemon(ours)
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT_S)


def _run(worker: Worker) -> None:
    with suppress(EOFError, OSError):
        worker.run()


KINDS: tuple[dict[str, Any], ...] = (
    {"targets": ALL},
    {"targets": ("q_proj",), "r": 1},
    {"targets": ("v_proj", "down_proj"), "r": 2},
    {"targets": ("gate_proj", "up_proj"), "r": 33},
    {"targets": ALL, "r": 3, "use_dora": True},
    {"targets": ("k_proj",), "r": 16, "use_rslora": True},
    {"targets": ("o_proj", "up_proj"), "r": 5, "rank_pattern": {"up_proj": 40}},
    {"targets": ("q_proj", "v_proj"), "r": 8, "use_dora": True},
)


def submit(
    name: str, prompt: tuple[int, ...], adapter: Path | None, *, count: int = ANSWER, **changes: Any
) -> Submit:
    sampling = SamplingParams(max_tokens=count, seed=7, temperature=0.9 if name.endswith("5") else 0)
    source = source_of(adapter) if adapter else None
    return Submit(sequence_id=name, prompt_ids=prompt, sampling=sampling, adapter=source, **changes)


def served(backend: Any, settings: BackendSettings, adapters: list[Path]) -> tuple[dict[str, list[int]], Watched]:
    """The tokens of 18 sequences on 16 adapters and the base, with a pause, a shared beginning and a long prompt."""
    watched = Watched(backend)
    with working(watched, settings) as daemon:
        shared = tuple(range(20, 40))
        daemon.send(submit("first", (*shared, 1), adapters[0], payer="p", num_allowed=1))
        daemon.wait(lambda: len(daemon.tokens.get("first", ())) == 1)
        orders = {f"s{n}": submit(f"s{n}", (30 + n, 5), adapters[n]) for n in range(1, len(adapters))}
        orders["bare"] = submit("bare", (9, 9), None)
        orders["again"] = submit("again", (*shared, 2), adapters[0], payer="p")
        daemon.send(*orders.values(), Allow(sequence_id="first", num_tokens=ANSWER))
        daemon.wait_for_all(["first", *orders])
    return daemon.tokens, watched


def test_sixteen_adapters_of_sixteen_shapes_answer_as_on_plain_torch_through_the_worker(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=1)
    extra = [{**kind, "r": kind.get("r", 4) + 1} for kind in KINDS]
    adapters = [
        write_adapter(base, tmp_path / f"a{seed}", seed=seed, **kind) for seed, kind in enumerate((*KINDS, *extra))
    ]
    settings = settings_of(base, batch_max=16)
    found, kernels = served(on_kernels(settings), settings, adapters)
    wanted, _ = served(TorchLoraBackend(settings), settings, adapters)
    assert found == wanted
    assert max(map(len, kernels.steps)) >= 12
    assert kernels.starts("first")[:2] == [0, 16], "its prompt was cut"
    assert kernels.starts("again")[0] == 16, "it found the block that the first one left"


def test_a_sequence_that_gives_way_to_others_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", num_hidden_layers=1)
    adapters = [write_adapter(base, tmp_path / f"a{seed}", seed=seed, **KINDS[seed]) for seed in range(2)]
    settings = settings_of(base, kv_cache_bytes=NUM_BLOCKS * BLOCK_TOKENS * 2 * 24 * 4)
    found: list[dict[str, list[int]]] = []
    for backend in (on_kernels(settings), TorchLoraBackend(settings)):
        watched = Watched(backend)
        with working(watched, settings) as daemon:
            early = [submit(f"early{n}", (n,), each, count=1) for n, each in enumerate(adapters)]
            daemon.send(*early)  # so both adapters are there before the sequences that need the same blocks
            daemon.wait_for_all([each.sequence_id for each in early])
            daemon.send(*(submit(f"s{n}", tuple(range(n, n + 13)), each, count=8) for n, each in enumerate(adapters)))
            daemon.wait_for_all(["s0", "s1"])
        found.append(daemon.tokens)
        assert any(len(watched.starts(name)) > 1 for name in daemon.tokens), "one was preempted"
    assert found[0] == found[1]
