"""Attribution beside generation: what a receipt's shares add to an answer, by text and by signals.

All times are of the processor, so other work on the machine hardly changes their ratios. The base is the demo base
with the sample's adapter on `torch_lora`, one thread. `--json` prints one object on the last line; `--quick` is a
short form whose figures mean little.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attribution import ANSWER_TOKENS, CONTRIBUTORS, DATANET_ID, LAKE, NumberTokenizer, account, draw_exchanges
from bars import Bar, bar, environment
from signal_bars import ADAPTER, QUICK_FACTS, SignalledSample

from openledger_node.attribution.attributors.poa_v3 import PoaV3Attributor
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.index import build_index, open_index
from openledger_node.attribution.owners import join_owners
from openledger_node.attribution.service import attribute
from openledger_node.attribution.signals.sums import SignalReducer, open_reducer
from openledger_node.datanets.version import make_version
from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow, Draw
from openledger_node.home import Home, home_folder
from openledger_node.models.bases import find_base
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.datanet import Row
from openledger_protocol.inference import SamplingParams
from openledger_protocol.signals import signals_from_bytes

ROWS, ROW_TOKENS, QUICK_ROWS = 100_000, 64, 1_000
VOCABULARY = 49_152
PROMPT_TOKENS = 32
ROUNDS, QUICK_TOKENS = 3, 32
TEXT_ANSWERS = 20


def cpu_s(work: Callable[[], Any]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def generate(served: SignalledSample, num_tokens: int, reducer: SignalReducer | None) -> list[int]:
    """Decode greedily, with the sums of taps if there is a reducer; return the tokens."""
    backend, ids = served.backend, list(served.tokenizer.encode(served.held_out[0].prompt))[:PROMPT_TOKENS]
    sampling = SamplingParams(max_tokens=num_tokens, seed=1, temperature=0)
    num_prompt, pending = len(ids), tuple(ids)
    backend.join("bench", ADAPTER)
    try:
        while len(ids) < num_prompt + num_tokens:
            position = len(ids) - len(pending)
            row = BatchRow(
                sequence_id="bench",
                token_ids=pending,
                position=position,
                blocks=tuple(range(-(-len(ids) // BLOCK_TOKENS))),
                draw=Draw(sampling=sampling, position=len(ids), is_tapped=reducer is not None),
            )
            drawn = backend.step((row,))["bench"]
            if reducer is not None:
                assert drawn.taps is not None
                reducer.add(drawn.taps, drawn.token)
            ids.append(drawn.token)
            pending = (drawn.token,)
    finally:
        backend.leave("bench")
    return ids[num_prompt:]


def measure_generation(base: Path, num_tokens: int) -> dict[str, float]:
    """Processor seconds of an answer: generated plainly, generated with taps and signals, and its shares."""
    with tempfile.TemporaryDirectory() as name:
        served = SignalledSample(base, Path(name), num_facts=QUICK_FACTS)
        torch.set_num_threads(1)
        answer = generate(served, num_tokens, None)  # the first of each also opens what is kept afterwards
        generate(served, num_tokens, open_reducer(Path(name) / "signals", served.backend))
        plain, tapped, reducing = [], [], []
        for _ in range(ROUNDS):
            reducer = open_reducer(Path(name) / "signals", served.backend)
            plain.append(cpu_s(lambda: generate(served, num_tokens, None)))
            tapped.append(cpu_s(lambda used=reducer: generate(served, num_tokens, used)))
            reducing.append(cpu_s(reducer.reduced))
        exchange = replace(served.exchange(served.held_out[0]), answer=tuple(answer))
        [(root, content)] = reducer.reduced()
        exchange = replace(exchange, signals={root: signals_from_bytes(content)})
        shares_s = cpu_s(lambda: attribute(PoaV3Attributor(), [served.datanet], exchange))
    return {
        "plain_s": statistics.median(plain),
        "tapped_s": statistics.median(tapped),
        "reducing_s": statistics.median(reducing),
        "shares_s": shares_s,
    }


def measure_text(num_rows: int) -> list[float]:
    """Processor milliseconds of the shares of answers of 256 tokens, among so many rows."""
    drawn = np.minimum(np.random.default_rng(1).zipf(1.1, (num_rows, ROW_TOKENS)), VOCABULARY)
    texts = [" ".join(map(str, row)) for row in drawn.tolist()]
    rows = [Row(prompt=t[:50], completion=t[50:], contributor=f"c{n % CONTRIBUTORS}") for n, t in enumerate(texts)]
    accounts = {f"c{number}": account(number + 1) for number in range(CONTRIBUTORS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = open_index(folder, build_index(folder, [(LAKE, rows)], NumberTokenizer(), None))
        version = make_version("lake", "1", rows, accounts)
        owned = join_owners(index, {LAKE.rows_root: version.rows}, {LAKE.rows_root: DATANET_ID})
        asked = draw_exchanges(index, TEXT_ANSWERS, row_tokens=ROW_TOKENS)
        return sorted(1000 * cpu_s(lambda each=each: attribute(SuffixAttributor(), owned, each)) for each in asked)


def measure(base: Path, *, is_quick: bool) -> tuple[list[Bar], dict[str, Any]]:
    num_tokens = QUICK_TOKENS if is_quick else ANSWER_TOKENS - PROMPT_TOKENS
    found = measure_generation(base, num_tokens)
    text_ms = measure_text(QUICK_ROWS if is_quick else ROWS)
    token_s = found["plain_s"] / num_tokens
    added_s = found["tapped_s"] - found["plain_s"] + found["reducing_s"] + found["shares_s"]
    median_ms = statistics.median(text_ms)
    told = f"{1000 * token_s:.1f} ms a token"
    return [
        bar("text_match", median_ms / 1000 / (token_s * ANSWER_TOKENS), "ratio", 0.01, better="lower", why=told),
        bar("poa_v3", added_s / found["plain_s"], "ratio", 0.02, better="lower", why=told),
        bar("text_match_ms", median_ms, "ms", 50, better="lower", why=f"{QUICK_ROWS if is_quick else ROWS:,} rows"),
        bar("shares_ms", 1000 * (found["reducing_s"] + found["shares_s"]), "ms", 300, better="lower"),
    ], {**found, "text_ms": text_ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    words = parser.parse_args()
    load, base = os.getloadavg()[0], find_base(Home(home_folder()), DEMO_BASE_NAME).folder
    assert base is not None
    bars, runs = measure(base, is_quick=words.quick)
    for entry in bars:
        print(f"{entry['id']}: {entry['value']} {entry['unit']} (goal {entry['goal']}) {entry['why']}".rstrip())
    if words.json:
        env = environment(load, 1)
        print(
            json.dumps({"bench": "attribution_costs", "quick": words.quick, "bars": bars, "env": env, "runs": runs})
        )


if __name__ == "__main__":
    main()
