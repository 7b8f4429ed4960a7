"""Scores of a case's rows for its answers by every rule, the node's own and their peers, and the shares of owners."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rule_data import Case
from signal_bars import Bm25Attributor

from openledger_node.attribution.attributor import Attributor, Exchange, Scores
from openledger_node.attribution.attributors.poa_v3 import PoaV3Attributor
from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.attributors.uniform import SizeAttributor
from openledger_node.attribution.index import build_index, open_index
from openledger_node.attribution.owners import OwnedDatanet, join_owners
from openledger_node.attribution.service import exchange_of, share_out
from openledger_node.attribution.signals.files import build_signals, open_signals
from openledger_node.attribution.signals.sketches import Sketches, seed_of
from openledger_node.attribution.signals.statistics import signals_of
from openledger_node.attribution.signals.traces import Trace, trace_of
from openledger_node.datanets.copies import clusters_of, find_copies
from openledger_node.datanets.rows import rows_digest
from openledger_node.datanets.version import VersionLabel, make_version
from openledger_node.engine.taps import Taps
from openledger_node.engine.tokenizer import Tokenizer
from openledger_protocol.constants import COSINE_ONE, PPM
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId, checksum_address
from openledger_protocol.signals import signal_cosine, signal_cosines

Floats = NDArray[np.float64]

DATANET_ID: Final = DatanetId("0x" + "11" * 32)
TREASURY: Final = "treasury"
SCORE_MAX: Final = 2**20
"""The best row's score where a rule of floats is paid like one of integers."""

TEXT_RULES: Final[dict[str, Attributor]] = {
    "size": SizeAttributor(),
    "BM25": Bm25Attributor(),
    "suffix-v1": SuffixAttributor(),
    "poa-v3": PoaV3Attributor(),
}
RIDGES: Final = (0.01, 0.1, 1.0)
"""Of TRAK, as parts of the mean square of a row's gradient. Each is tried, and the best is shown."""

DATAINF_RIDGE: Final = 0.1


class KeptHead:
    """Rows of the output head that a case has kept."""

    def __init__(self, tokens: Any, rows: Any) -> None:
        self._tokens, self._rows = tokens.numpy(), rows.numpy()

    def unembedding(self, token_ids: Sequence[int]) -> Any:
        """Look up a row for each token."""
        return self._rows[np.searchsorted(self._tokens, np.asarray(token_ids))]


class ScoredCase:
    """A case's rows, indexed by the node's own code, and its answers with their signals."""

    def __init__(
        self,
        case: Case,
        tokenizer: Tokenizer,
        folder: Path,
        *,
        keep: Callable[[Row], bool] = lambda row: True,
        rename: Callable[[int, str], str] = lambda number, name: name,
        is_redirected: bool = True,
    ) -> None:
        """`keep` leaves rows out, `rename` gives rows to others, and `is_redirected` pays copies to the first row."""
        drawn = [Row(prompt=prompt, completion=said, contributor=name) for prompt, said, name in case["rows"]]
        numbers = {row: number for number, row in reversed(list(enumerate(drawn))) if keep(row)}
        self.numbers = sorted(numbers.values())  # of distinct rows, the first of each
        self.rows = [
            replace(drawn[number], contributor=rename(number, drawn[number].contributor)) for number in self.numbers
        ]
        self.asked: list[str] = case["asked"]
        self.outputs: list[str] = case["outputs"]
        names = sorted({row.contributor for row in self.rows})
        accounts = {name: checksum_address(place.to_bytes(20, "big")) for place, name in enumerate(names, start=1)}
        self._names: dict[Address, str] = {account: name for name, account in accounts.items()} | {
            ZERO_ADDRESS: TREASURY
        }
        num_honest = sum(number < case["num_honest"] for number in self.numbers)
        copies = find_copies([self.rows[:num_honest], self.rows[num_honest:]])
        clusters = clusters_of(copies) if is_redirected else tuple(range(len(self.rows)))
        self.num_redirected = sum(
            copy is not None and self.rows[copy.first].contributor != row.contributor
            for row, copy in zip(self.rows[:num_honest], copies, strict=False)
        )
        self._root = rows_digest(self.rows)
        version = make_version("case", "1", self.rows, accounts, clusters=clusters)
        label = VersionLabel(id="case", version="1", rows_root=self._root)
        index = open_index(folder / "text", build_index(folder / "text", [(label, self.rows)], tokenizer, None))
        owned = join_owners(index, {self._root: version.rows}, {self._root: DATANET_ID})[0]
        is_residual = np.array(case["is_residual"], np.bool_)
        head: Any = KeptHead(case["tokens"], case["head"])
        sketches = Sketches(seed_of(self._root, [self._root]), d_model=case["head"].shape[1], is_residual=is_residual)

        def trace(taps: dict[str, Any]) -> Trace:
            tapped = Taps(
                activations=taps["activations"].numpy(),
                is_residual=is_residual,
                top_ids=taps["top_ids"].numpy().astype(np.int32),
                top_logits=taps["top"].numpy(),
            )
            return trace_of(tapped, taps["ids"].tolist(), head, sketches)

        traces = {row: trace(case["row_taps"][number]) for row, number in zip(self.rows, self.numbers, strict=True)}
        built = build_signals(folder / "signals", [(self._root, self.rows)], sketches, traces.__getitem__)
        signals = open_signals(folder / "signals", built)[self._root]
        self.datanet: OwnedDatanet = replace(owned, index=replace(owned.index, signals=signals))

        def exchanges(name: str) -> list[Exchange]:
            return [
                replace(
                    exchange_of(asked, said, tokenizer),
                    signals={self._root: signals_of(trace(taps), signals.statistics, sketches)},
                )
                for asked, said, taps in zip(self.asked, self.outputs, case[name], strict=True)
            ]

        self.exchanges = exchanges("answer_taps")
        self.narrow_exchanges = exchanges("narrow_taps")

    def text_scores(self) -> dict[str, list[Scores]]:
        """Scores (answers, rows) by the node's rules, BM25 and size."""
        return {
            name: [rule.score(exchange, self.datanet.index) for exchange in self.exchanges]
            for name, rule in TEXT_RULES.items()
        }

    def signal_scores(self) -> dict[str, Floats]:
        """Scores (answers, rows) by parts of poa-v3, to show where it gains and loses."""
        signals = self.datanet.index.signals
        assert signals is not None
        rows = [signals.row(number) for number in range(len(self.rows))]
        answers = [each.signals[self._root] for each in self.exchanges]
        cosines = np.array([[signal_cosines(answer, row) for row in rows] for answer in answers]) / COSINE_ONE
        text = np.array([TEXT_RULES["suffix-v1"].score(each, self.datanet.index) for each in self.exchanges])
        error, label, activation = (cosines[:, :, part] for part in range(3))
        product, factor = error * label * activation, 4 * text + np.maximum(text.max(axis=1, keepdims=True), 1)
        return {
            "error": error,
            "label": label,
            "activation": activation,
            "error · label": error * label,
            "error · label · activation": product,
            "text · error": factor * error,
            "text · error · label": factor * error * label,
            "poa-v3 without least evidence": factor * product,
        }

    def drift(self) -> list[tuple[float, tuple[float, ...]]]:
        """For each answer, half of the sum of the differences of shares that bfloat16 makes, and the cosines."""
        rule, found = TEXT_RULES["poa-v3"], []
        for wide, narrow in zip(self.exchanges, self.narrow_exchanges, strict=True):
            ours, theirs = (self.shares("poa-v3", rule.score(each, self.datanet.index)) for each in (wide, narrow))
            moved = sum(abs(ours.get(name, 0.0) - theirs.get(name, 0.0)) for name in ours.keys() | theirs.keys()) / 2
            pairs = zip(wide.signals[self._root].vectors, narrow.signals[self._root].vectors, strict=True)
            found.append((moved, tuple(signal_cosine(*pair) / COSINE_ONE for pair in pairs)))
        return found

    def shares(self, rule: str, scores: Sequence[float]) -> dict[str, float]:
        """Each contributor's part of an answer's pay by a rule's scores of the rows."""
        whole = [int(score) for score in scores]
        if rule not in TEXT_RULES:
            most = max(max(scores), 0.0)
            whole = [int(SCORE_MAX * max(score, 0.0) / most) if most else 0 for score in scores]
        found = share_out(TEXT_RULES.get(rule, TEXT_RULES["suffix-v1"]), self.datanet, np.array(whole))
        return {self._names[share.account]: share.ppm / PPM for share in found}

    def gradient_scores(self, case: Case) -> dict[str, Floats]:
        """Scores (questions, rows) of the rules that need gradients of every row."""
        plain, white = (case[name].numpy().astype(np.float64) for name in ("plain", "white"))
        at, first = self.numbers, len(case["rows"])
        among, asked = plain[:, at][:, :, at], plain[:, first:][:, :, at]
        dots, squares = asked.sum(axis=0), np.einsum("pnn->n", among)
        white_squares = np.einsum("pnn->n", white[:, at][:, :, at])
        cosine = white[:, first:][:, :, at].sum(axis=0) / np.sqrt(white_squares)
        text = np.array([TEXT_RULES["suffix-v1"].score(each, self.datanet.index) for each in self.exchanges])
        text = text[: len(dots)].astype(np.float64)
        return {
            "GradDot": dots,
            "GradCos": dots / np.sqrt(squares),
            **{f"TRAK {ridge:g}": trak(among.sum(axis=0), dots, ridge) for ridge in RIDGES},
            "DataInf": datainf(among, asked, case["sizes"]),
            "poa-v2": (4 * text + np.maximum(text.max(axis=1, keepdims=True), 1)) * np.maximum(cosine, 0),
        }


def trak(among: Floats, asked: Floats, ridge: float) -> Floats:
    """TRAK's estimate of one model by whole gradients of the loss: asked · (K + ridge)⁻¹ (questions, rows)."""
    added = ridge * np.trace(among) / len(among) * np.eye(len(among))
    return np.asarray(np.linalg.solve(among + added, asked.T).T)


def datainf(among: Floats, asked: Floats, sizes: Sequence[int]) -> Floats:
    """DataInf's closed form from products of gradients by parameter: (p, rows, rows), (p, questions, rows)."""
    found = np.zeros(asked.shape[1:])
    for kernel, dots, size in zip(among, asked, sizes, strict=True):
        squares = np.diag(kernel)
        ridge = DATAINF_RIDGE * squares.mean() / size
        if ridge > 0:
            found += (dots - (dots / (ridge + squares)) @ kernel / len(kernel)) / ridge
    return found
