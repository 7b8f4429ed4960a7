"""Bars 1 to 3 and 5: the backend against other engines, in one interleaved run."""

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from bars import Bar, bar, percentile
from field import Field, Setting
from quiet import Case, PlayerError, Samples, gather
from work import FULL, RANKS, folder_of, spread

Found = dict[str, Samples]

OURS = ("torch", "accelerated")
ALONE = "one"


def measure_backends(setting: Setting, field: Field, others_max: float) -> Found:
    """Batches of all contenders, in turns: `name/kN` has N adapters in the batch, `name/oneN` is a batch of one."""
    cases = cases_of(setting, field)
    for name, case in cases.items() if setting.shape == FULL else ():
        try:  # what compiles or allocates at a first run does so now
            case()
        except PlayerError as error:
            setting.say(f"{name}: {error}")
    return gather(cases, setting.shape.samples, others_max=others_max, say=setting.say)


def cases_of(setting: Setting, field: Field) -> dict[str, Case]:
    shape, cases = setting.shape, {}
    for name, contender in field.contenders.items():
        slow = (shape.few, shape.batch)  # a batch of theirs takes half a minute
        ours = (0, *shape.distinct)
        counts = {"transformers": (0,), "peft": slow, "vllm": (0, *slow)}.get(name, ours)
        for distinct in counts:
            cases[f"{name}/k{distinct}"] = case_of(setting, contender, shape.batch, distinct)
        if name in ("transformers", *OURS):
            cases[f"{name}/{ALONE}0"] = case_of(setting, contender, 1, 0)
        if name in OURS:
            cases[f"{name}/{ALONE}1"] = case_of(setting, contender, 1, 1)
    return cases


def case_of(setting: Setting, contender: Any, batch: int, distinct: int) -> Case:
    return lambda: setting.run(contender, batch, distinct)


def first_tokens_of_vllm(setting: Setting, field: Field) -> dict[str, Any]:
    """Time to the first token, which vLLM's offline API shows only by one-token answers; no bar needs it."""
    contender, shape = field.contenders.get("vllm"), setting.shape
    if contender is None:
        return {}
    found = {}
    for distinct in (0, shape.batch):
        adapters = [folder_of(source) for source in spread(setting.sources, shape.batch, distinct)]
        prompts = [prompt.ids for prompt in setting.prompts.draw(shape.batch)]
        found[f"k{distinct}"] = contender.ask("first", prompts=prompts, adapters=adapters)["first_s"][0]
    return found


class Figures:
    """Results from the samples, and the reasons for missing ones."""

    def __init__(self, found: Found, field: Field, wanted: int) -> None:
        self._found = found
        self._wanted = wanted
        self._absent = field.absent

    def rate(self, name: str) -> float | None:
        """Tokens per second."""
        samples = self._found.get(name)
        return samples.median(lambda one: one["tokens"] / one["wall_s"]) if samples else None

    def first(self, name: str) -> float | None:
        """Seconds until 95 % of the rows have their first token."""
        samples = self._found.get(name)
        return samples.median(lambda one: percentile(one["first_s"])) if samples else None

    def step(self, name: str) -> float | None:
        """Seconds of a decode-only step."""
        samples = self._found.get(name)
        return samples.median(lambda one: statistics.median(one["steps_s"])) if samples else None

    def why(self, *names: str) -> str:
        """The reason for which one of these is missing."""
        for name in names:
            player = name.partition("/")[0]
            samples = self._found.get(name)
            if player in self._absent:
                return self._absent[player]
            if samples is None:
                return f"{player} was not selected"
            if samples.error:
                return f"{player}: {samples.error}"
            if not samples.kept:
                return f"no sample of {name} was undisturbed: {samples.dropped} were dropped"
            if len(samples.kept) < self._wanted:
                return f"only {len(samples.kept)} of {self._wanted} samples of {name} were undisturbed"
        return ""

    def ratio(self, of: Callable[[str], float | None], one: str, other: str) -> tuple[float | None, str]:
        """The ratio of two cases, or the reason for which it is missing."""
        over, under = of(one), of(other)
        return (over / under if over is not None and under else None), self.why(one, other)

    def summary(self) -> dict[str, Any]:
        """The figures of every case."""
        return {name: self._line(name, samples) for name, samples in self._found.items()}

    def _line(self, name: str, samples: Samples) -> dict[str, Any]:
        rates = [round(one["tokens"] / one["wall_s"], 1) for one in samples.kept]
        has_steps = samples.kept and samples.kept[0]["steps_s"]
        return {
            "tokens_per_s": self.rate(name),
            "of_each": rates,
            "ttft_p95_s": self.first(name) if samples.kept and samples.kept[0]["first_s"] else None,
            "step_s": self.step(name) if has_steps else None,
            "dropped": samples.dropped,
            "others_cores": samples.others_cores,
            "error": samples.error,
        }


def backend_bars(setting: Setting, figures: Figures) -> list[Bar]:
    """Ratios within this run; 8 and 32 in a bar's name are a quarter of the batch and the whole batch."""
    few, every = f"k{setting.shape.few}", f"k{setting.shape.batch}"
    goals: list[tuple[str, str, str, float, float | None]] = [
        ("torch_base_over_transformers", "torch/k0", "transformers/k0", 1.1, None),
        ("torch_k8_over_peft", f"torch/{few}", f"peft/{few}", 5, None),
        ("torch_k32_over_peft", f"torch/{every}", f"peft/{every}", 7, None),
        ("torch_k32_over_vllm", f"torch/{every}", f"vllm/{every}", 5, None),
        ("base_over_transformers", "accelerated/k0", "transformers/k0", 3.5, 4.4),
        ("k8_over_peft", f"accelerated/{few}", f"peft/{few}", 13, 18),
        ("k32_over_peft", f"accelerated/{every}", f"peft/{every}", 24, 28),
        ("k32_over_vllm", f"accelerated/{every}", f"vllm/{every}", 18, 24),
        ("one_over_transformers", f"accelerated/{ALONE}0", f"transformers/{ALONE}0", 3.7, 4.3),
    ]
    found = []
    for id, one, other, goal, stretch in goals:
        value, why = figures.ratio(figures.rate, one, other)
        found.append(bar(id, value, "ratio", goal, stretch, why=why))
    for id, player, goal, stretch in (("torch_ttft", "torch", 1.6, None), ("ttft", "accelerated", 1.25, 1.15)):
        value, why = figures.ratio(figures.first, f"{player}/{every}", f"{player}/k0")
        found.append(bar(f"{id}_k32_over_base", value, "ratio", goal, stretch, better="lower", why=why))
    return found


def floor_bars(
    setting: Setting, field: Field, figures: Figures, others_max: float
) -> tuple[list[Bar], dict[str, Any]]:
    """A decode step against the time that its bytes need, at the bandwidth of the same process and moment."""
    contender = field.contenders.get("accelerated")
    counts = {"k0": 0, "k32": setting.shape.batch}
    cases: dict[str, Case] = {id: partial(beside_floor, setting, contender, many) for id, many in counts.items()}
    found = gather(cases if contender else {}, setting.shape.samples, others_max=others_max, say=setting.say)
    bars = []
    for id, many in counts.items():
        samples = found.get(id, Samples(error=figures.why(f"accelerated/k{many}")))
        value = samples.median(lambda one: one["step_s"] / one["floor_s"] if one["floor_s"] else math.inf)
        why = samples.error or f"no step was undisturbed: {samples.dropped} were dropped"
        why = samples.kept[0]["why"] or beside_products(samples.kept[0]) if samples.kept else why
        value = value if value is not None and value < math.inf else None
        bars.append(bar(f"decode_over_floor_{id}", value, "ratio", 1.45, 1.3, better="lower", why=why))
    return bars, {id: samples.kept for id, samples in found.items()}


def beside_products(sample: dict[str, Any]) -> str:
    """A remark if the processor, and not the memory, limits the step."""
    if not sample["multiply_s"] or sample["multiply_s"] <= sample["floor_s"]:
        return ""
    return (
        f"without AMX the processor is the floor: reading takes {1000 * sample['floor_s']:.1f} ms, multiplying alone "
        f"{1000 * sample['multiply_s']:.1f} ms; the step is {sample['step_s'] / sample['multiply_s']:.2f} of that"
    )


def beside_floor(setting: Setting, contender: Any, distinct: int) -> dict[str, Any]:
    """Measure the floor and then a step at once, because both drift with the machine."""
    shape = setting.shape
    adapters = [folder_of(source) for source in spread(setting.sources, shape.batch, distinct)]
    floor = contender.ask("floor", adapters=adapters, context=shape.prompt_tokens + shape.answer_tokens // 2)
    run = setting.run(contender, shape.batch, distinct)
    return {**floor, "step_s": statistics.median(run["steps_s"])}


def load_bars(setting: Setting, field: Field, others_max: float) -> tuple[list[Bar], dict[str, Any]]:
    """Cold loads of rank 16 by our fastest backend on this machine, with the files dropped from the page cache."""
    name = "accelerated" if "accelerated" in field.contenders else "torch"
    contender = field.contenders.get(name)
    if contender is None:
        why = field.absent.get(name, "our backend did not start")
        return [bar(id, None, "ms", *goal, better="lower", why=why) for id, goal in LOAD_GOALS.items()], {}
    others = setting.sources[setting.shape.batch :: len(RANKS)]  # of the first rank, and in no batch so far
    unused = [source.folder for source in others[: setting.shape.cold_loads]]
    for folder in unused:
        contender.ask("cold", folder=folder)  # from now on there is a packed copy, if this backend keeps one
    cases: dict[str, Case] = {folder: lambda folder=folder: contender.ask("cold", folder=folder) for folder in unused}  # type: ignore[misc]
    found = gather(cases, 1, others_max=others_max, say=lambda line: None)
    times_ms = [1000 * one["wall_s"] for samples in found.values() for one in samples.kept]
    dropped = sum(samples.dropped for samples in found.values())
    values = (statistics.median(times_ms), percentile(times_ms)) if times_ms else (None, None)
    why = "" if times_ms else f"no load was undisturbed: {dropped} were dropped"
    bars = [
        bar(id, value, "ms", *goal, better="lower", why=why)
        for (id, goal), value in zip(LOAD_GOALS.items(), values, strict=True)
    ]
    return bars, {"backend": name, "ms": [round(one, 2) for one in times_ms], "dropped": dropped}


LOAD_GOALS = {"cold_load_ms": (20.0, 9.0), "cold_load_p95_ms": (30.0, 12.0)}
