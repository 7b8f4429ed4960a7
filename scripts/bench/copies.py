"""Copies: the part of honest rows and of copies that is redirected, and the time that a large Datanet takes.

`--json` prints one object on the last line; `--quick` is a short form whose figures mean little.
"""

import argparse
import json
import time
from random import Random
from typing import Any

from copies_rows import COPIES, KINDS

from openledger_node.datanets.copies import Copy, find_copies
from openledger_protocol.datanet import Row

ROWS_EACH, SEEDS, QUICK_SEEDS = 26, 10, 2
VICTIM_ROWS = 30
CROWD_ROWS = 20_000
SIZES, QUICK_SIZES = (10_000, 100_000), (1_000,)


def measure_honest(kind: str, seeds: range) -> dict[str, Any]:
    """The part of honest rows whose pay would go to another contributor, by evidence."""
    counts = {"rows": 0, "shingles": 0, "words": 0}
    for seed in seeds:
        random = Random(f"{kind} {seed}")
        rows = KINDS[kind](random, ROWS_EACH)
        random.shuffle(rows)
        half = len(rows) // 2
        copies = find_copies([rows[:half], rows[half:]])
        counts["rows"] += len(rows)
        for evidence in _of_others(rows, copies):
            counts["words" if evidence == "words" else "shingles"] += 1
    return counts


def measure_copies(kind: str, seeds: range) -> dict[str, float]:
    """The part of copies, each of one honest row, whose pay goes to the contributor of that row."""
    caught, made = dict.fromkeys(COPIES, 0), 0
    for seed in seeds:
        random = Random(f"{kind} {seed}")
        rows = KINDS[kind](random, ROWS_EACH)
        random.shuffle(rows)
        victims = random.sample(range(len(rows)), VICTIM_ROWS)
        made += len(victims)
        for name, copy in COPIES.items():
            batch = [copy(random, rows[place]) for place in victims]
            verdicts = find_copies([rows, batch])[len(rows) :]
            firsts = [*rows, *batch]
            owners = [None if verdict is None else firsts[verdict.first].contributor for verdict in verdicts]
            caught[name] += sum(
                rows[place].contributor == owner for place, owner in zip(victims, owners, strict=True)
            )
    return {name: count / made for name, count in caught.items()}


def measure_time(num_rows: int) -> dict[str, Any]:
    """The time for rows of all kinds, a tenth of them copies, in batches of a thousand."""
    random = Random(num_rows)
    rows: list[Row] = []
    for kind in ("facts", "styles", "behaviours"):
        rows += KINDS[kind](random, num_rows // 24)
    random.shuffle(rows)
    for place in range(0, len(rows), 10):
        rows[place] = COPIES["prompt"](random, rows[random.randrange(len(rows))])
    begin = time.process_time()
    copies = find_copies([rows[place : place + 1_000] for place in range(0, len(rows), 1_000)])
    return {"rows": len(rows), "copies": sum(map(bool, copies)), "cpu_s": round(time.process_time() - begin, 2)}


def measure_crowd(num_rows: int) -> dict[str, Any]:
    """The time for rows that are made to be slow: few words, of which every row has a hundred."""
    random = Random(num_rows)
    words = [f"w{number}" for number in range(2_000)]
    rows = []
    for place in range(num_rows):
        text = " ".join(random.choices(words, k=100))
        rows.append(Row(prompt=text, completion=text[:40], contributor=f"c{place % 2}"))
    begin = time.process_time()
    copies = find_copies([rows])
    return {"rows": len(rows), "copies": sum(map(bool, copies)), "cpu_s": round(time.process_time() - begin, 2)}


def _of_others(rows: list[Row], copies: tuple[Copy | None, ...]) -> list[str]:
    return [
        copy.evidence
        for row, copy in zip(rows, copies, strict=True)
        if copy is not None and rows[copy.first].contributor != row.contributor
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    seeds = range(QUICK_SEEDS if given.quick else SEEDS)
    found = {
        "honest": {kind: measure_honest(kind, seeds) for kind in KINDS},
        "copies": {kind: measure_copies(kind, seeds) for kind in KINDS},
        "times": [
            *(measure_time(size) for size in (QUICK_SIZES if given.quick else SIZES)),
            measure_crowd(QUICK_SIZES[0] if given.quick else CROWD_ROWS),
        ],
    }
    for kind, counts in found["honest"].items():
        parts = ", ".join(f"{name} {counts[name] / counts['rows']:.2%}" for name in ("shingles", "words"))
        caught = ", ".join(f"{name} {part:.1%}" for name, part in found["copies"][kind].items())
        print(f"{kind}: of {counts['rows']} honest rows redirected by {parts}; of copies {caught}")
    for each in found["times"]:
        print(f"{each['rows']} rows, {each['copies']} copies: {each['cpu_s']} s of CPU")
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
