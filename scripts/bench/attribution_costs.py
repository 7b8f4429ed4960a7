"""Attribution beside generation: what a receipt's shares add to an answer, by text and by signals.

All times are of the processor, so other work on the machine hardly changes their ratios. The base is the demo base
with the sample's adapter on `torch_lora`, one thread. In bfloat16 the compiled step serves it, where the machine can
run it. `--json` prints one object on the last line; `--quick` is a short form whose figures mean little.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attribution import ANSWER_TOKENS, CONTRIBUTORS, DATANET_ID, LAKE, NumberTokenizer, account, draw_exchanges
from bars import Bar, bar, environment
from signal_bars import ADAPTER, QUICK_FACTS, SignalledSample, open_random_signals

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.poa_v3 import PoaV3Attributor
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.index import build_index, open_index
from openledger_node.attribution.owners import join_owners
from openledger_node.attribution.service import attribute
from openledger_node.attribution.signals.sums import BATCH_TOKENS as BLOCK
from openledger_node.attribution.signals.sums import SignalReducer, open_reducer
from openledger_node.datanets.version import make_version
from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow, Draw
from openledger_node.home import Home, home_folder
from openledger_node.models.bases import find_base
from openledger_protocol.constants import DEMO_BASE_NAME
from openledger_protocol.datanet import Row
from openledger_protocol.inference import SamplingParams
from openledger_protocol.signals import signals_from_bytes

ROWS, ROW_TOKENS = 100_000, 64
VOCABULARY = 49_152
PROMPT_TOKENS = 32
ROUNDS, QUICK_TOKENS = 4, 64
TEXT_ANSWERS = 20


def cpu_s(work: Callable[[], Any]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def generate(
    served: SignalledSample, num_tokens: int, reducer: SignalReducer, turn: int | None = None
) -> tuple[list[int], list[float]]:
    """Decode greedily, and tap every second block of steps, or all; return the tokens, and seconds of each step."""
    backend, ids = served.backend, list(served.tokenizer.encode(served.held_out[0].prompt))[:PROMPT_TOKENS]
    sampling = SamplingParams(max_tokens=num_tokens, seed=1, temperature=0)
    num_prompt, pending = len(ids), tuple(ids)
    times_s: list[float] = []
    backend.join("bench", ADAPTER)
    try:
        for number in range(num_tokens):
            position = len(ids) - len(pending)
            is_tapped = turn is None or (number // BLOCK + turn) % 2 == 1
            began_s = time.process_time()
            row = BatchRow(
                sequence_id="bench",
                token_ids=pending,
                position=position,
                blocks=tuple(range(-(-len(ids) // BLOCK_TOKENS))),
                draw=Draw(sampling=sampling, position=len(ids), is_tapped=is_tapped),
            )
            drawn = backend.step((row,))["bench"]
            if is_tapped:
                assert drawn.taps is not None
                reducer.add(drawn.taps, drawn.token)
            times_s.append(time.process_time() - began_s)
            ids.append(drawn.token)
            pending = (drawn.token,)
    finally:
        backend.leave("bench")
    return ids[num_prompt:], times_s


def measure_generation(base: Path, num_tokens: int, dtype: str) -> dict[str, float]:
    """Processor seconds of an answer without taps, what taps add to a token, and an answer's signals and shares.

    Blocks of steps are tapped in turns, so that other work on the machine weighs on both kinds alike. In each tapped
    block the taps are reduced once.
    """
    with tempfile.TemporaryDirectory() as name:
        served = SignalledSample(base, Path(name), num_facts=QUICK_FACTS, dtype=dtype, threads=1)
        torch.set_num_threads(1)

        def opened() -> SignalReducer:
            return open_reducer(Path(name) / "signals", served.backend)

        generate(served, num_tokens, opened())  # opens what is kept afterwards
        plain: list[float] = []
        tapped: list[float] = []
        for turn in range(ROUNDS):
            _, times_s = generate(served, num_tokens, opened(), turn)
            blocks = [sum(times_s[at : at + BLOCK]) for at in range(0, num_tokens, BLOCK)]
            for number, block_s in enumerate(blocks[1:], start=1):  # the first one holds the prompt
                (tapped if (number + turn) % 2 else plain).append(block_s)
        reducer = opened()
        answer, _ = generate(served, num_tokens, reducer)
        reducing_s = cpu_s(reducer.reduced)
        [(root, content)] = reducer.reduced()
        exchange = replace(served.exchange(served.held_out[0]), answer=tuple(answer))
        exchange = replace(exchange, signals={root: signals_from_bytes(content)})
        shares_s = cpu_s(lambda: attribute(PoaV3Attributor(), [served.datanet], exchange))
    return {
        "plain_s": num_tokens * statistics.median(plain) / BLOCK,
        "added_s": (statistics.median(tapped) - statistics.median(plain)) / BLOCK,
        "added_mean_s": (statistics.mean(tapped) - statistics.mean(plain)) / BLOCK,
        "reducing_s": reducing_s,
        "shares_s": shares_s,
    }


def measure_index(num_rows: int) -> dict[str, list[float]]:
    """Processor milliseconds of answers of 256 tokens among rows: by text, by signals alone, and by poa-v3."""
    drawn = np.minimum(np.random.default_rng(1).zipf(1.1, (num_rows, ROW_TOKENS)), VOCABULARY)
    texts = [" ".join(map(str, row)) for row in drawn.tolist()]
    rows = [Row(prompt=t[:50], completion=t[50:], contributor=f"c{n % CONTRIBUTORS}") for n, t in enumerate(texts)]
    accounts = {f"c{number}": account(number + 1) for number in range(CONTRIBUTORS)}
    root = LAKE.rows_root
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = open_index(folder, build_index(folder, [(LAKE, rows)], NumberTokenizer(), None))
        signals = open_random_signals(folder / "signals", root, num_rows=num_rows)
        version = make_version("lake", "1", rows, accounts)
        [owned] = join_owners(index, {root: version.rows}, {root: DATANET_ID})
        asked = [
            replace(each, signals={root: signals.row(number)})
            for number, each in enumerate(draw_exchanges(index, TEXT_ANSWERS, row_tokens=ROW_TOKENS))
        ]
        both = replace(owned, index=replace(owned.index, signals=signals))
        return {
            "text_ms": _times_ms(asked, lambda each: attribute(SuffixAttributor(), [owned], each)),
            "evidence_ms": _times_ms(asked, lambda each: signals.evidence(each.signals[root])),
            "poa_v3_ms": _times_ms(asked, lambda each: attribute(PoaV3Attributor(), [both], each)),
        }


def _times_ms(asked: Sequence[Exchange], work: Callable[[Exchange], Any]) -> list[float]:
    return sorted(1000 * cpu_s(partial(work, each)) for each in asked)


def measure(base: Path, *, dtype: str, is_quick: bool) -> tuple[list[Bar], dict[str, Any]]:
    num_tokens = QUICK_TOKENS if is_quick else ANSWER_TOKENS - PROMPT_TOKENS
    found = measure_generation(base, num_tokens, dtype)
    indexed = measure_index(ROWS)
    token_s = found["plain_s"] / num_tokens
    added_s = found["added_s"] * num_tokens + found["reducing_s"] + found["shares_s"]
    text_ms, evidence_ms, poa_v3_ms = (statistics.median(indexed[name]) for name in indexed)
    told, many = f"{1000 * token_s:.1f} ms a token", f"{ROWS:,} rows"
    return [
        bar("text_match", text_ms / 1000 / (token_s * ANSWER_TOKENS), "ratio", 0.01, better="lower", why=told),
        bar("poa_v3", added_s / found["plain_s"], "ratio", 0.02, better="lower", why=told),
        bar("shares_ms", 1000 * (found["reducing_s"] + found["shares_s"]), "ms", 300, better="lower"),
        bar("text_match_ms", text_ms, "ms", 50, better="lower", why=many),
        bar("evidence_ms", evidence_ms, "ms", 50, better="lower", why=f"{many}, signals alone"),
        bar("poa_v3_ms", poa_v3_ms, "ms", 50, better="lower", why=f"{many}, text and signals"),
    ], {**found, **indexed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the base's numbers")
    words = parser.parse_args()
    load, base = os.getloadavg()[0], find_base(Home(home_folder()), DEMO_BASE_NAME).folder
    assert base is not None
    bars, runs = measure(base, dtype=words.dtype, is_quick=words.quick)
    for entry in bars:
        print(f"{entry['id']}: {entry['value']} {entry['unit']} (goal {entry['goal']}) {entry['why']}".rstrip())
    if words.json:
        env = environment(load, 1)
        print(
            json.dumps({"bench": "attribution_costs", "quick": words.quick, "bars": bars, "env": env, "runs": runs})
        )


if __name__ == "__main__":
    main()
