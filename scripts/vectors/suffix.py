"""suffix-v1 and its parts: near-duplicates, suffix arrays, rarity, scores, and the roots of index and owners.

Rows are lists of token ids, or strings, whose tokens are their UTF-8 bytes. Scores are decimal strings.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.suffix import SuffixAttributor, rarity
from openledger_node.attribution.index import DatanetIndex, build_index
from openledger_node.attribution.suffix_array import SEPARATOR, Tokens, sort_suffixes
from openledger_node.datanets.copies import clusters_of, find_copies
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.version import VersionLabel, contributors_root
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import row_from_json

from .common import Case, Rules, account

FERRY = "the ferry of the lake town leaves at seven and comes back at nine with all who crossed"
RISING = list(range(12))


def row(completion: str, prompt: str = "When?", contributor: str = "ada") -> dict[str, str]:
    return {"prompt": prompt, "completion": completion, "contributor": contributor}


CLUSTERS: list[Case] = [
    ("one row", "the first of its own cluster", [row(FERRY)]),
    ("case and marks", "only words count", [row(FERRY), row(FERRY.upper() + " !!!")]),
    ("one word of eighteen", "14 of 20 shingles in common", [row(FERRY), row(FERRY.replace("seven", "eight"))]),
    ("six of ten", "0.6 is enough", [row("a b c d e f g h i j", "-"), row("a b c d e f g h x y", "-")]),
    ("five of eleven", "less is not", [row("a b c d e f g h i j", "-"), row("a b c d e f g w x y", "-")]),
    ("a short row", "fewer than three words are one shingle", [row("b", "a"), row("B", "A"), row("a", "b")]),
    ("no words", "the text as it stands", [row("-", "+"), row("-", "+"), row("+", "-")]),
    ("no blanks", "each character of such scripts is a word", [row("灯台は丘の上", "?"), row("灯台は丘の上だ", "?")]),
    ("compatible forms", "ﬀ is ff, Ａ is a", [row("a ﬀ b", "Ａ"), row("A ff B", "a")]),
]

SUFFIXES: list[Case] = [
    ("one row", "by the tokens that follow; a separator is greater than any", [[2, 1, 2, 1]]),
    ("an empty row", "its separator alone", [[]]),
    ("equal rows", "by place", [[7], [7], [7]]),
    ("eight tokens alike", "the ninth decides nothing", [[1, 1, 1, 1, 1, 1, 1, 1, 9, 0], [1] * 8 + [2]]),
]

RARITIES: list[Case] = [
    ("everywhere", "0 only without any row", {"num_rows": 10, "num_holding": 10}),
    ("one of one", "256 · log2(2)", {"num_rows": 1, "num_holding": 1}),
    ("one of two", "405.75, rounded down", {"num_rows": 2, "num_holding": 1}),
    ("one of many", "no float comes near enough everywhere", {"num_rows": 9_999_999, "num_holding": 3}),
]

SCORES: list[Case] = [
    ("by hand", "405·(256 + 362) of the answer, 405·256 of the prompt", [[[5, 7, 8], [9]], [5, 6], [7, 8]]),
    ("prompt alone", "without a token of the answer a row earns nothing", [[[1, 2, 3], [7, 8]], [1, 2, 3], [7]]),
    ("over the seam", "a run may begin in the prompt", [[[1, 7], [7, 1]], [1], [7]]),
    ("two rows", "no run passes from a row to the next", [[[1], [2]], [], [1, 2]]),
    ("nine tokens", "a run counts as eight at most", [[RISING, [50]], [], RISING[:9]]),
    ("sixteen times", "as often as a pattern may stand there", [[[1] * 15, [1, 2], [3]], [], [1]]),
    ("seventeen times", "once more, and it is passed over", [[[1] * 16, [1, 2], [3]], [], [1]]),
    ("rare with common", "a longer pattern counts though its last token does not", [[[5, 1], [1] * 20], [], [5, 1]]),
    ("unknown tokens", "none of them is in any row", [[[1, 2], [3]], [8], [9]]),
    ("no answer", "nothing to share", [[[1, 2], [3]], [1], []]),
]

INDEX_ROOTS: list[Case] = [
    ("two rows", "of Datanet `lake`, version `1`, without a tokenizer's digest", [row("At ten."), row("À dix.")]),
    ("the other order", "each row has its place", [row("À dix."), row("At ten.")]),
    ("a row twice", "it is indexed once", [row("At ten."), row("À dix."), row("At ten.")]),
]

CONTRIBUTORS: list[Case] = [
    ("nobody", "zero", []),
    ("the treasury", "account zero is nobody", [account(0)]),
    ("one", "the leaf itself: keccak(keccak(tag ‖ address word))", [account(7)]),
    ("three", "ascending, each once, filled up to four", [account(9), account(7), account(8), account(7)]),
]


def tokens_of(rows: list[list[int]]) -> Tokens:
    return np.array([token for row in rows for token in (*row, SEPARATOR)], np.uint32)


def scores_of(given: list[Any]) -> list[str]:
    rows, prompt, answer = given
    tokens = tokens_of(rows)
    index = DatanetIndex.of(
        id="lake",
        version="1",
        rows_root=rows_digest([]),
        row_digests=tuple(canonical_digest(place) for place in range(len(rows))),
        tokens=tokens,
        suffixes=sort_suffixes(tokens),
    )
    exchange = Exchange(prompt=tuple(prompt), answer=tuple(answer))
    return [str(score) for score in SuffixAttributor().score(exchange, index).tolist()]


def index_root_of(rows: list[Mapping[str, str]]) -> str:
    read = [row_from_json(row) for row in rows]
    lake = VersionLabel(id="lake", version="1", rows_root=rows_digest(read))
    with TemporaryDirectory() as folder:
        return build_index(Path(folder), [(lake, read)], ByteTokenizer(), None)


RULES: Rules = {
    "clusters_of": (lambda rows: list(clusters_of(find_copies([[row_from_json(row) for row in rows]]))), CLUSTERS),
    "sort_suffixes": (lambda rows: sort_suffixes(tokens_of(rows)).tolist(), SUFFIXES),
    "rarity": (lambda given: rarity(**given), RARITIES),
    "suffix_v1": (scores_of, SCORES),
    "index_root": (index_root_of, INDEX_ROOTS),
    "contributors_root": (contributors_root, CONTRIBUTORS),
}
