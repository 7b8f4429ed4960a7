"""The data of one case for all rules: a Datanet is drawn and trained on, questions are answered, and all is tapped.

A case is kept in a file, so that rules can be compared again without any training.
"""

import time
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from rule_attacks import attack_rows
from rule_datanets import OWNERS, ROWS_AN_OWNER, draw_datanet, owner_name
from rule_world import Text, World, kernels

from openledger_protocol.datanet import Row

EPOCHS: Final = {"facts": 7, "styles": 8, "behaviours": 16}
UNRELATED: Final = ("Who wrote Hamlet?", "How do I sort a list in Python?")
"""Questions that no row of any kind teaches."""

Case = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePlan:
    """The settings of one case."""

    kind: str
    seed: int
    subsets: int = 0  # trainings on the rows of half of the owners; 0: no gradients either
    is_attacked: bool = False
    layers: int = 3
    rank: int = 8
    rows_each: int = ROWS_AN_OWNER
    epochs: int | None = None

    @property
    def name(self) -> str:
        """The name of its file."""
        attack = "attacked" if self.is_attacked else "clean"
        return f"{self.kind}-{self.seed}-{attack}-l{self.layers}-r{self.rank}-n{self.rows_each}"


def make_case(base: Path, plan: CasePlan) -> Case:
    """Train, answer, tap and retrain, with the CPU seconds of each part beside it."""
    clock = [time.process_time()]
    world = World(base, layers=plan.layers, rank=plan.rank)
    head = world.head
    drawn = draw_datanet(plan.kind, plan.seed, plan.rows_each)
    rows = (*drawn.rows, *(attack_rows(plan.kind, drawn.rows, plan.seed) if plan.is_attacked else ()))
    texts = world.texts([(world.encode(row.prompt), world.encode_answer(row.completion)) for row in rows])
    vocabulary = world.vocabulary(texts)
    epochs = plan.epochs or EPOCHS[plan.kind]
    optimizer = world.train(texts, vocabulary, seed=plan.seed, epochs=epochs)
    trained = [p.data.clone() for p in world.parameters]
    clock.append(time.process_time())
    asked = [*(question.prompt for question in drawn.questions), *UNRELATED]
    outputs = world.generate([world.encode(text) for text in asked])
    answers = world.texts([(world.encode(text), output) for text, output in zip(asked, outputs, strict=True)])
    row_taps, answer_taps = [world.taps(text) for text in texts], [world.taps(text) for text in answers]
    clock.append(time.process_time())
    case: Case = {
        "plan": {name: getattr(plan, name) for name in CasePlan.__slots__},
        "rows": [(row.prompt, row.completion, row.contributor) for row in rows],
        "num_honest": len(drawn.rows),
        "questions": [astuple(question) for question in drawn.questions],
        "asked": asked,
        "outputs": [world.decode(output) for output in outputs],
        "row_taps": row_taps,
        "answer_taps": answer_taps,
        "is_residual": world.is_residual.tolist(),
    }
    if plan.subsets:
        own = answers[: len(drawn.questions)]
        gradients = world.gradients([*texts, *own])
        second = [optimizer.state[p]["exp_avg_sq"] for p in world.parameters]
        case["plain"], case["white"] = kernels(gradients, second, len(texts))
        case["sizes"] = [g.shape[1] for g in gradients]
        clock.append(time.process_time())
        case |= retrained(world, rows, texts, own, vocabulary, plan, epochs)
        for parameter, numbers in zip(world.parameters, trained, strict=True):
            parameter.data = numbers
        clock.append(time.process_time())
    world.narrow()
    pairs = [(text.ids[: text.prompt], text.answer) for text in answers]
    case["narrow_taps"] = [world.taps(text) for text in world.texts(pairs)]
    clock.append(time.process_time())
    tapped = [*row_taps, *answer_taps, *case["narrow_taps"]]
    case["tokens"] = torch.unique(torch.cat([taps[name].ravel() for taps in tapped for name in ("ids", "top_ids")]))
    case["head"] = head[case["tokens"]].clone()
    case["cpu_s"] = [round(end - begin, 1) for begin, end in pairwise(clock)]
    return case


def retrained(
    world: World,
    rows: tuple[Row, ...],
    texts: list[Text],
    answers: list[Text],
    vocabulary: torch.Tensor,
    plan: CasePlan,
    epochs: int,
) -> dict[str, Any]:
    """Log-probabilities (subsets, answers) after trainings on the rows of half of the owners."""
    random = Random(f"subsets {plan.seed}")
    subsets, found = [], []
    for _ in range(plan.subsets):
        owners = sorted(owner_name(n) for n in random.sample(range(OWNERS), OWNERS // 2))
        part = [text for row, text in zip(rows, texts, strict=True) if row.contributor in owners]
        world.train(part, vocabulary, seed=plan.seed, epochs=epochs)
        subsets.append(owners)
        found.append(world.logprobs(answers))
    return {"subsets": subsets, "retrained": torch.tensor(found)}


def kept_case(base: Path, plan: CasePlan, folder: Path) -> Case:
    """Make a case, or read it from its file."""
    file = folder / f"{plan.name}.pt"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        torch.save(make_case(base, plan), part)
        part.rename(file)
    case: Case = torch.load(file, weights_only=True)
    return case
