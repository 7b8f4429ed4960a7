"""The peers of scripts/bench/gpu.py: the same batches by PEFT and by vLLM, where they are installed."""

import sys
from importlib.util import find_spec
from typing import Any, Final

from contender import Contender
from gpu_cases import Bench
from gpu_run import Run, formats_of
from quiet import PlayerError
from work import folder_of

from openledger_node.models.decoder_config import read_config

PEERS: Final = ("peft", "vllm")

NO_BACKEND: Final[Any] = None
"""For the prompts of peers, which have processes of their own."""


def peer_part(run: Run, name: str, peers: list[str], python: str | None) -> None:
    """The same batches by PEFT or vLLM, on the same shape with random numbers of their own."""
    decode = run.runs.get("decode")
    if name not in peers or not isinstance(decode, dict) or not decode.get("shape"):
        raise PlayerError("left out" if name not in peers else "nothing of ours on a wide base to compare with")
    if find_spec(name) is None and python is None:
        raise PlayerError(
            f"{name} is not installed here" + (": --vllm names a Python that has it" * (name == "vllm"))
        )
    work, script = run.work, {"peft": "transformers_peft.py", "vllm": "vllm_lora.py"}[name]
    words = {
        "base": str(run.base(decode["shape"])),
        "dtype": formats_of(run.device)[-1],
        "threads": run.threads,
        "batch": work.batch,
        "context": work.context,
        "adapters_max": work.batch,
        "rank_max": max(work.ranks),
        "device": run.device,
        "random": True,
    }
    contender = Contender(script, words, run.scratch / f"{name}.log", python=python or sys.executable)
    try:
        compare(run, name, contender, decode["tokens_per_s"])
    finally:
        contender.close()


def compare(run: Run, name: str, contender: Contender, ours: dict[str, float]) -> None:
    """Time batches of a peer, and note our speed over theirs."""
    work = run.work
    shape = run.runs["decode"]["shape"]
    folders = [str(folder_of(source)) for source in run.even_adapters(shape)]
    draws = Bench(NO_BACKEND, read_config(run.base(shape)), work)
    rates: dict[str, float] = {}
    cases: dict[str, list[str | None]] = {"base": [None] * work.batch, "adapters": list(folders)}
    for case in ("adapters",) if name == "peft" else tuple(cases):
        if case == "adapters":
            contender.ask("load", folders=folders)
        for _ in range(2):  # the first warms up
            prompts = draws.prompts(work.batch)
            found = contender.ask("run", prompts=prompts, adapters=cases[case], answer_tokens=work.answer_tokens)
            rates[case] = found["tokens"] / found["wall_s"]
    run.runs[name] = {"tokens_per_s": rates, **contender.about}
    bars = {"base": "g5_over_vllm", "adapters": f"g6_over_{'peft' if name == 'peft' else 'vllm_lora'}"}
    for case, rate in rates.items():
        run.note(bars[case], ours[case] / rate)
