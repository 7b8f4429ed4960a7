"""The backend llamacpp beside llama.cpp itself, and the price of taking turns with adapters.

Both run the same GGUF file with the same flags on the same machine, and their samples interleave: one request at a
time through the node's engine, and the same request straight at a llama-server. Then batches of eight requests, on
the base, on one adapter and on eight. `--json` prints one object on the last line; `--quick` is a short form whose
figures mean nothing. `--program` is a llama-server, and `--gguf` a model; the default is the demo base.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from bars import bar, environment, show_bars
from tokenizers import Tokenizer

from openledger_node.backends.llamacpp.backend import open_backend
from openledger_node.backends.llamacpp.plan import plan_server, sizes_of
from openledger_node.backends.llamacpp.server import OwnServer, find_program, serve_arguments
from openledger_node.backends.served.client import Client
from openledger_node.engine.backend import BackendSettings, BatchRow, Draw, Drawn
from openledger_node.engine.engine import Engine, EngineOptions
from openledger_node.engine.frames import Submit
from openledger_node.engine.stopwatch import run_engine, time_sequences
from openledger_node.home import Home
from openledger_node.models.adapter_files.random_adapter import Linear, write_random_adapter
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.bases import file_digest, find_base, write_base_json
from openledger_node.models.decoder_config import read_config
from openledger_node.models.gguf_files.describe import write_description
from openledger_node.models.gguf_files.header import read_header
from openledger_node.plugs import load_plug
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.inference import SamplingParams

HOME = Home(Path(__file__).resolve().parents[2] / ".home")
RANK = 16
BATCH = 8

Found = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The amount of work."""

    prompt_tokens: int = 64
    answer_tokens: int = 64
    batch_prompt: int = 16  # tokens of each prompt in a batch, few, because prompts hide the price of turns
    batch_tokens: int = 48
    samples: int = 11
    batches: int = 5
    compared_tokens: int = 32  # of greedy answers that are compared with our own engine's


QUICK = Work(
    prompt_tokens=8, answer_tokens=8, batch_prompt=4, batch_tokens=4, samples=1, batches=1, compared_tokens=4
)


@dataclass(slots=True)
class Bench:
    """One run: the described base, its adapters and the prompts."""

    settings: BackendSettings
    work: Work
    adapters: list[AdapterSource]
    say: Callable[[str], None]
    draws: np.random.Generator
    names = count()

    def prompt(self) -> tuple[int, ...]:
        """A prompt that nobody has seen before, of tokens in the middle of the vocabulary."""
        return tuple(self.draws.integers(1000, 10_000, self.work.prompt_tokens).tolist())

    def text(self, number: int) -> tuple[int, ...]:
        """The tokens of one of the paragraphs of a page of ours."""
        page = (Path(__file__).resolve().parents[2] / "docs/explanation/engine.md").read_text()
        paragraphs = [part for part in page.split("\n\n") if len(part) > 400]
        tokenizer = Tokenizer.from_file(str(Path(self.settings.base_folder or "") / "tokenizer.json"))
        return tuple(tokenizer.encode(paragraphs[number]).ids[: self.work.prompt_tokens])

    def order(self, ids: tuple[int, ...], num_tokens: int, adapter: AdapterSource | None = None) -> Submit:
        """One request, greedy."""
        sampling = SamplingParams(max_tokens=num_tokens, seed=1, temperature=0)
        return Submit(sequence_id=str(next(self.names)), prompt_ids=ids, sampling=sampling, adapter=adapter)

    async def measure(self, client: Client, engine: Engine) -> Found:
        """Single requests in turns, then batches in turns."""
        rates: dict[str, list[float]] = {
            name: [] for name in ("raw", "ours", "base", "one adapter", "eight adapters")
        }
        loads = []
        batches = {"base": [None] * BATCH, "one adapter": self.adapters[:1] * BATCH, "eight adapters": self.adapters}
        for orders in batches.values():  # loads the adapters
            await self.batch(engine, orders)
        self.ask(client, self.prompt())
        for number in range(self.work.samples):
            ids = self.prompt()
            loads.append(round(os.getloadavg()[0], 2))
            rates["raw"].append(self.ask(client, ids))
            timing = await time_sequences(engine, [self.order(ids, self.work.answer_tokens)])
            rates["ours"].append(timing.tokens_per_s)
            for name, orders in batches.items() if number < self.work.batches else ():
                rates[name].append(await self.batch(engine, orders))
            self.say(
                f"{number + 1} of {self.work.samples}: {', '.join(f'{n} {r[-1]:.1f}' for n, r in rates.items())}"
            )
        return {"tokens_per_s": rates, "loads": loads}

    async def batch(self, engine: Engine, adapters: list[Any]) -> float:
        """Tokens per second of requests that arrive together."""
        work = self.work
        orders = [self.order(self.prompt()[: work.batch_prompt], work.batch_tokens, each) for each in adapters]
        timing = await time_sequences(engine, orders)
        assert not timing.failures, timing.failures
        return timing.tokens_per_s

    def ask(self, client: Client, ids: tuple[int, ...]) -> float:
        """Tokens per second of one request straight at a llama-server, streamed and read to its end."""
        body = {"prompt": ids, "n_predict": self.work.answer_tokens, "stream": True, "temperature": 0}
        began_s = time.perf_counter()
        connection = client.send("POST", "/completion", {**body, "cache_prompt": False, "return_tokens": True})
        last = connection.getresponse().read().rstrip().rpartition(b"data: ")[2]
        took_s = time.perf_counter() - began_s
        connection.close()
        predicted: int = json.loads(last)["tokens_predicted"]
        return predicted / took_s


def lives(bench: Bench) -> Found:
    """Seconds of a start, of a start again for eight new adapters, and of an end in the middle of an answer."""
    with tempfile.TemporaryDirectory() as cache:
        began_s = time.monotonic()
        backend = open_backend(replace(bench.settings, cache_folder=cache))
        found = {"start_s": time.monotonic() - began_s}
        for source in bench.adapters:
            backend.load_adapter(source.id, backend.read_adapter(source))
        began_s = time.monotonic()
        backend.join("s", None)
        found["restart_with_eight_s"] = time.monotonic() - began_s
        sampling = SamplingParams(max_tokens=bench.work.answer_tokens, seed=1, temperature=0)
        ids = bench.prompt()
        backend.step(
            (BatchRow(sequence_id="s", token_ids=ids, position=0, draw=Draw(sampling=sampling, position=len(ids))),)
        )
        began_s = time.monotonic()
        backend.close()
        return {**found, "pause_s": time.monotonic() - began_s}


def compared(bench: Bench) -> Found:
    """The tokens for which greedy answers of llama.cpp and of our own engine in float32 are equal."""
    answers = {}
    orders = [(bench.text(n), source) for n, source in enumerate([*[None] * BATCH, *bench.adapters])]
    for name in ("llamacpp", "torch_lora"):
        with tempfile.TemporaryDirectory() as cache:
            settings = replace(bench.settings, dtype="float32", acceleration="off", cache_folder=cache)
            backend = load_plug("backend", name)(settings)
            for source in bench.adapters:
                backend.load_adapter(source.id, backend.read_adapter(source))
            answers[name] = [greedy(backend, ids, source, bench.work.compared_tokens) for ids, source in orders]
            getattr(backend, "close", lambda: None)()
    pairs = list(zip(*answers.values(), strict=True))
    same = [
        next((n for n, (one, other) in enumerate(zip(*pair, strict=True)) if one.token != other.token), len(pair[0]))
        for pair in pairs
    ]
    firsts = [(dict(one[0].top), dict(other[0].top)) for one, other in pairs]
    largest = max(abs(one[token] - other[token]) for one, other in firsts for token in one.keys() & other.keys())
    return {
        "tokens": bench.work.compared_tokens,
        "same_base": same[:BATCH],
        "same_adapters": same[BATCH:],
        "first_logprobs_differ_by": largest,
    }


def greedy(backend: Any, prompt: tuple[int, ...], source: AdapterSource | None, num_tokens: int) -> list[Drawn]:
    sampling = SamplingParams(max_tokens=num_tokens, seed=1, temperature=0, logprobs=3)
    backend.join("s", source.id if source else None)
    blocks = tuple(range(-(-(len(prompt) + num_tokens) // 16)))
    ids, position, drawn = prompt, 0, []
    for _ in range(num_tokens):
        draw = Draw(sampling=sampling, position=position + len(ids))
        row = BatchRow(sequence_id="s", token_ids=ids, position=position, blocks=blocks, draw=draw)
        drawn.append(backend.step((row,))["s"])
        ids, position = (drawn[-1].token,), position + len(ids)
    backend.leave("s")
    return drawn


def describe(gguf: Path, folder: Path) -> Path:
    """A base folder of a GGUF file that stays where it is."""
    folder.mkdir()
    write_description(gguf, folder)
    write_base_json(folder, name="bench", digest=file_digest(gguf), source=None, gguf=gguf)
    return folder


def run(gguf: Path, program: str, work: Work, scratch: Path, say: Callable[[str], None]) -> Found:
    load, folder = os.getloadavg()[0], describe(gguf.resolve(), scratch / "base")
    threads = 1  # with more, llama.cpp's threads wait for each other by spinning, and a neighbour slows them manyfold
    settings = BackendSettings(
        base_folder=str(folder),
        device="cpu",
        dtype="auto",
        threads=threads,
        batch_max=BATCH,
        context_max=work.prompt_tokens + work.answer_tokens,
        server_command=program,
        cache_folder=str(scratch / "cache"),
    )
    config = read_config(folder)
    linears = [
        Linear(path=f"model.layers.{layer}.{'self_attn' if name[0] in 'qkvo' else 'mlp'}.{name}", d_in=i, d_out=o)
        for layer in range(config.num_layers)
        for name, (i, o) in config.site_dims.items()
    ]
    adapters = [write_random_adapter(scratch / f"a{seed}", linears, rank=RANK, seed=seed) for seed in range(BATCH)]
    bench = Bench(settings, work, adapters, say, np.random.default_rng(7))
    found = find_program(program)
    header = read_header(gguf)
    arguments = serve_arguments(found, settings, gguf, plan_server(sizes_of(header), settings), [])
    server = OwnServer(found, arguments, threads=threads, folder=None)
    try:
        server.wait_ready()
        runs = run_engine(options_of(settings, scratch), lambda engine: bench.measure(server.client, engine))
    finally:
        server.close()
    runs |= {"lives": lives(bench), "compared": compared(bench)}
    return report(runs, environment(load, threads, gguf=gguf.name, program=program, work=str(work)), work == QUICK)


def report(runs: Found, env: Found, is_quick: bool) -> Found:
    middle = {name: statistics.median(rates) for name, rates in runs["tokens_per_s"].items()}
    pairs = list(zip(runs["tokens_per_s"]["ours"], runs["tokens_per_s"]["raw"], strict=True))
    bars = [
        bar("one_over_llama_cpp", statistics.median(one / other for one, other in pairs), "ratio", 0.9),
        bar("pause", runs["lives"]["pause_s"], "s", 2.0, better="lower"),
    ]
    middle["eight adapters over one"] = middle["eight adapters"] / middle["one adapter"]
    return {"bench": "llamacpp", "quick": is_quick, "bars": bars, "env": env, "runs": {**runs, "medians": middle}}


def options_of(settings: BackendSettings, scratch: Path) -> EngineOptions:
    return EngineOptions(
        backend="llamacpp",
        settings=settings,
        prefill_tokens_max=512,
        adapter_cache_bytes=1 << 30,
        stall_timeout_s=300.0,
        wait_policy="auto",
        log_file=scratch / "engine.log",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--program", default="llama-server", help="default: llama-server")
    parser.add_argument("--gguf", type=Path, help="default: the demo base's file")
    words = parser.parse_args()
    gguf = words.gguf or find_base(HOME, DEMO_BASE_NAME).gguf
    if gguf is None:
        raise SystemExit("the demo base here was converted by an older version: name its file with --gguf")
    with tempfile.TemporaryDirectory() as scratch:
        found = run(
            gguf, words.program, QUICK if words.quick else Work(), Path(scratch), lambda line: print(line, flush=True)
        )
    show_bars("llamacpp", found["bars"])
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
