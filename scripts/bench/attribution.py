"""Attribution: times of suffix-v1 and of the signals of poa-v3, and who is paid on the sample by each rule.

`--json` prints one object on the last line; `--quick` is a short form whose figures mean nothing.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from signal_bars import QUICK_ROWS as QUICK_SIGNAL_ROWS
from signal_bars import ROWS as SIGNAL_ROWS
from signal_bars import measure_sample, measure_signal_times

from openledger_node import __version__
from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.index import AttributionIndex, build_index, open_index
from openledger_node.attribution.owners import OwnedDatanet, join_owners
from openledger_node.attribution.service import attribute, exchange_of
from openledger_node.datanets.near import distinct_rows
from openledger_node.datanets.sample import draw_sample
from openledger_node.datanets.version import VersionLabel, make_version
from openledger_node.engine.tokenizer import ByteTokenizer, Tokenizer, open_tokenizer
from openledger_node.home import Home, open_home
from openledger_node.models.bases import is_here
from openledger_protocol.constants import DEMO_BASE_NAME, PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address, DatanetId, Digest, checksum_address

ROWS, ROW_TOKENS, PROMPT_TOKENS, ANSWER_TOKENS, CONTRIBUTORS = 10_000, 250, 64, 256, 50
RUN_TOKENS = 20  # an answer repeats rows in runs of this length
VOCABULARY = 49_152  # the demo base's
ANSWERS, QUICK_ANSWERS, QUICK_ROWS = 50, 5, 500
SAMPLE_SEEDS = range(1, 6)
DATANET_ID = DatanetId("0x" + "11" * 32)
LAKE = VersionLabel(id="lake", version="1", rows_root=Digest("0x" + "22" * 32))


class NumberTokenizer(ByteTokenizer):
    """A tokenizer of texts that are numbers, so that rows can have the token frequencies of real text."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Read the numbers."""
        return tuple(map(int, text.split()))


def account(number: int) -> Address:
    return checksum_address(number.to_bytes(20, "big"))


def draw_rows(num_rows: int) -> list[Row]:
    """Rows whose tokens are as unevenly frequent as words."""
    drawn = np.minimum(np.random.default_rng(1).zipf(1.1, (num_rows, ROW_TOKENS)), VOCABULARY)
    texts = [" ".join(map(str, row)) for row in drawn.tolist()]
    return [
        Row(prompt=text[: len(text) // 4], completion=text[len(text) // 4 :], contributor=f"c{place % CONTRIBUTORS}")
        for place, text in enumerate(texts)
    ]


def draw_exchanges(index: AttributionIndex, count: int, row_tokens: int = ROW_TOKENS) -> list[Exchange]:
    """Prompts and answers made of runs of many rows, as an adapter trained on them gives."""
    random, datanet = np.random.default_rng(2), index.datanets[0]

    def runs(size: int) -> tuple[int, ...]:
        tokens: list[int] = []
        while len(tokens) < size:
            begin = int(random.integers(0, row_tokens - RUN_TOKENS))
            tokens += datanet.row_tokens(int(random.integers(datanet.num_rows)))[begin : begin + RUN_TOKENS]
        return tuple(tokens[:size])

    return [Exchange(prompt=runs(PROMPT_TOKENS), answer=runs(ANSWER_TOKENS)) for _ in range(count)]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def measure_times(num_rows: int, num_answers: int, folder: Path) -> dict[str, Any]:
    rows, tokenizer = draw_rows(num_rows), NumberTokenizer()
    accounts = {f"c{number}": account(number + 1) for number in range(CONTRIBUTORS)}
    _, clusters_s = timed(lambda: distinct_rows(rows))
    root, build_s = timed(lambda: build_index(folder, [(LAKE, rows)], tokenizer, None))
    index, open_s = timed(lambda: open_index(folder, root))
    version = make_version("lake", "1", rows, accounts)
    owned = join_owners(index, {LAKE.rows_root: version.rows}, {LAKE.rows_root: DATANET_ID})
    answers_ms = sorted(measure_answers(owned, draw_exchanges(index, num_answers)))
    return {
        "rows": num_rows,
        "tokens": int(index.datanets[0].row_lengths.sum()),
        "index_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "clusters_s": clusters_s,
        "build_s": build_s,
        "open_s": open_s,
        "answers_ms": answers_ms,
    }


def measure_answers(owned: tuple[OwnedDatanet, ...], exchanges: list[Exchange]) -> list[float]:
    attributor = SuffixAttributor()
    return [1000 * timed(lambda asked=asked: attribute(attributor, owned, asked))[1] for asked in exchanges]


def measure_owners(tokenizer: Tokenizer) -> list[int]:
    """The true owner's share in ppm, for correct answers to the sample's held-out questions."""
    found = []
    for seed in SAMPLE_SEEDS:
        sample = draw_sample(seed)
        names = sorted({row.contributor for row in sample.rows})
        accounts = {name: account(number) for number, name in enumerate(names, start=1)}
        version = make_version("lake", "1", sample.rows, accounts)
        with tempfile.TemporaryDirectory() as folder:
            root = build_index(Path(folder), [(LAKE, distinct_rows(sample.rows))], tokenizer, None)
            index = open_index(Path(folder), root)
            owned = join_owners(index, {LAKE.rows_root: version.rows}, {LAKE.rows_root: DATANET_ID})
            for row in sample.held_out:
                shares = attribute(SuffixAttributor(), owned, exchange_of(row.prompt, row.completion, tokenizer))
                found.append(sum(s.ppm for s in shares if s.account == accounts[row.contributor]))
    return found


def bar(
    id: str, value: float, unit: str, goal: float, stretch: float, *, better: str, why: str = ""
) -> dict[str, Any]:
    is_met = value <= goal if better == "lower" else value >= goal
    return {
        "id": id,
        "value": round(value, 3),
        "unit": unit,
        "goal": goal,
        "stretch": stretch,
        "better": better,
        "met": is_met,
        "why": why,
    }


def measure(home: Home, *, is_quick: bool) -> dict[str, Any]:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        times = measure_times(
            QUICK_ROWS if is_quick else ROWS, QUICK_ANSWERS if is_quick else ANSWERS, Path(folder) / "index"
        )
    has_base = is_here(home, DEMO_BASE_NAME)
    owners = measure_owners(open_tokenizer(home.models / DEMO_BASE_NAME if has_base else None))
    signals = measure_signal_times(num_rows=QUICK_SIGNAL_ROWS if is_quick else SIGNAL_ROWS)
    rules = measure_sample(home.models / DEMO_BASE_NAME, is_quick=is_quick) if has_base else {}
    millions = times["tokens"] / 1e6
    tokenised = "tokens of the demo base" if has_base else "the demo base is not installed: tokens are bytes"
    bars = [
        bar("answer_ms", statistics.median(times["answers_ms"]), "ms", 50, 20, better="lower"),
        bar("build_s_per_million_tokens", times["build_s"] / millions, "s", 5, 1, better="lower"),
        bar("open_s_per_million_tokens", times["open_s"] / millions, "s", 1, 0.2, better="lower"),
        bar("clusters_s", times["clusters_s"], "s", 30, 5, better="lower"),
        bar("index_bytes_per_token", times["index_bytes"] / times["tokens"], "bytes", 12, 8, better="lower"),
        bar("owner_first", sum(ppm > PPM // 2 for ppm in owners) / len(owners), "ratio", 0.84, 1, better="higher"),
        bar("owner_share", statistics.mean(owners) / PPM, "ratio", 0.8, 0.95, better="higher", why=tokenised),
        bar("signals_ms", signals["signals_ms"], "ms", 100, 50, better="lower", why="256 tokens, 336 numbers"),
        bar("evidence_ms", signals["evidence_ms"], "ms", 50, 20, better="lower", why="100,000 rows; quick: 2,000"),
        bar("signal_bytes_per_row", signals["bytes_a_row"], "bytes", 1_000, 860, better="lower"),
    ]
    if found := rules.get("poa-v3"):
        bars += [
            bar("owner_share_poa_v3", found["owner_share"], "ratio", 0.85, 0.95, better="higher"),
            bar("recall_at_1_poa_v3", found["recall_at_1"], "ratio", 0.95, 1, better="higher"),
        ]
    environment = {
        "cpu": platform.processor() or platform.machine(),
        "threads": os.cpu_count(),
        "load": load,
        "versions": {"openledger-node": __version__, "python": platform.python_version(), "numpy": np.__version__},
    }
    return {
        "bench": "attribution",
        "quick": is_quick,
        "bars": bars,
        "env": environment,
        "runs": {**times, "rules": rules},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="the short form")
    words = parser.parse_args()
    found = measure(open_home(), is_quick=words.quick)
    for entry in found["bars"]:
        print(f"{entry['id']}: {entry['value']} {entry['unit']} (goal {entry['goal']}) {entry['why']}".rstrip())
    if words.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
