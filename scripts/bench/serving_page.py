"""The engine's part of docs/reference/benchmarks.md and its charts, written from the result of one run."""

import json
from pathlib import Path
from typing import Any

from bars import bound, shown
from charts import draw_distinct, draw_registered

BEGIN, END = "<!-- serving.py writes from here -->", "<!-- to here -->"

NAMES = {
    "accelerated": "openledger, accelerated",
    "torch": "openledger, torch",
    "vllm": "vLLM",
    "peft": "PEFT",
    "transformers": "transformers",
}

MEANINGS = {
    "torch_base_over_transformers": "torch path, bare base, over transformers' batched generate",
    "torch_k8_over_peft": "torch path, 8 adapters in the batch, over PEFT's mixed batch",
    "torch_k32_over_peft": "torch path, 32 adapters, over PEFT's mixed batch",
    "torch_k32_over_vllm": "torch path, 32 adapters, over vLLM on the CPU",
    "base_over_transformers": "accelerated, bare base, over transformers",
    "k8_over_peft": "accelerated, 8 adapters, over PEFT",
    "k32_over_peft": "accelerated, 32 adapters, over PEFT",
    "k32_over_vllm": "accelerated, 32 adapters, over vLLM",
    "one_over_transformers": "accelerated, a batch of one, over transformers",
    "torch_ttft_k32_over_base": "torch path, time to the first token with 32 warm adapters over that without",
    "ttft_k32_over_base": "accelerated, the same",
    "decode_over_floor_k0": "accelerated, a decode step over the time its bytes need, bare base",
    "decode_over_floor_k32": "accelerated, the same with 32 adapters",
    "cold_load_ms": "loading an adapter of rank 16, files dropped from the cache, median",
    "cold_load_p95_ms": "the same, of 95 in 100",
    "http_over_backend": "through HTTP, scheduler and engine process, over the backend alone",
    "overhead_cpu_s": "processor time of daemon and engine process around 32 requests of 32 tokens",
    "admission_ms": "processor time of one request's admission, with 1,000 adapters registered",
    "admission_growth": "the same, over that with 8",
    "fp32_logit_error": "float32, largest difference to PEFT's log probabilities",
    "fp32_tokens_identical": "float32, tokens that are PEFT's, and the same alone and in a batch",
    "bf16_error_over_torch": "bfloat16, mean error to float32, accelerated over torch",
    "bitwise_alone_and_in_batch": "accelerated, the same bits alone and in a batch (1: yes)",
    "ttft_cold_over_base": "time to the first token with 32 cold adapters over that without",
    "cold_load_growth": "a cold load among 1,000 registered over one among 8",
    "adapter_ram_over_budget": "memory that adapters took over the cache's budget, 1,000 registered",
    "trace_64_over_all": "the same traffic over 1,000 adapters, a cache of 64 over one that holds all",
    "zipf_failures": "requests that failed",
    "neighbour_loss": "lost to a neighbour that takes one core of two",
    "neighbour_longest_gap": "longest wait for a token beside it, over the longest without it",
}


def write_page(found: dict[str, Any], docs: Path) -> None:
    """Write the figures between the page's two marks, draw the charts, and store the run beside them."""
    page, pictures = docs / "reference" / "benchmarks.md", docs / "pictures"
    pictures.mkdir(exist_ok=True)
    runs = found["runs"]
    if lines := distinct_lines(runs["backends"]):
        draw_distinct(lines, found["env"]["shape"]["batch"], pictures / "serving-distinct.png")
    if line := registered_line(runs["engine"]["cases"]):
        draw_registered(line, runs["engine"]["cached"], pictures / "serving-registered.png")
    (pictures / "serving.json").write_text(json.dumps(found, indent=1) + "\n")
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{render(found)}\n{END}{after}")


def render(found: dict[str, Any]) -> str:
    """The text between the marks."""
    runs = found["runs"]
    parts = [
        machine(found),
        bars_table(found["bars"]),
        "### Tokens a second\n\n" + rates_table(runs["backends"]) + remarks(runs),
        "![Tokens a second against distinct adapters in a batch](../pictures/serving-distinct.png)",
        "### Traffic over many adapters\n\n" + traffic_table(runs["engine"]["cases"]),
        "![Tokens a second against registered adapters](../pictures/serving-registered.png)",
        "### Start and memory\n\n" + start_table(runs["engine"]),
    ]
    return "\n\n".join(parts) + "\n"


def machine(found: dict[str, Any]) -> str:
    env, shape = found["env"], found["env"]["shape"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    quick = "**The short form: these figures mean nothing.** " if found["quick"] else ""
    return (
        f"{quick}{env['cpu']}, {env['cores']} cores, {env['threads']} threads, load {env['load']} when it began; "
        f"{env['base']} in {env['dtype']}; batches of {shape['batch']} prompts of {shape['prompt_tokens']} tokens, "
        f"{shape['answer_tokens']} generated. {versions}."
    )


def bars_table(bars: list[dict[str, Any]]) -> str:
    rows = ["| | measured | goal | stretch | |", "|---|---|---|---|---|"]
    for one in bars:
        verdict = one["why"] if one["value"] is None else ("met" if one["met"] else "**missed**")
        goals = f"{bound(one)} | {shown(one['stretch'])}"
        rows.append(f"| {MEANINGS[one['id']]} | {shown(one['value'], one['unit'])} | {goals} | {verdict} |")
    return "\n".join(rows)


def rates_table(backends: dict[str, Any]) -> str:
    """A row for each contender and a column for each number of adapters, with a batch of one last."""
    cases = sorted(
        {name.partition("/")[2] for name in backends}, key=lambda case: (case[0] == "o", adapters_in(case))
    )
    rows = ["| | " + " | ".join(map(head_of, cases)) + " |", "|---" * (len(cases) + 1) + "|"]
    for player, name in NAMES.items():
        cells = [backends.get(f"{player}/{case}", {}).get("tokens_per_s") for case in cases]
        if any(cells):
            rows.append(f"| {name} | " + " | ".join(shown(cell) for cell in cells) + " |")
    return "\n".join(rows)


def adapters_in(case: str) -> int:
    """The number of adapters of a case: 32 for "k32", and 1 for "one1"."""
    return int(case.lstrip("kone"))


def head_of(case: str) -> str:
    many = adapters_in(case)
    if case.startswith("one"):
        return "one alone, on an adapter" if many else "one alone"
    return "bare base" if many == 0 else f"{many} adapter{'s' if many > 1 else ''}"


def remarks(runs: dict[str, Any]) -> str:
    waits = ", ".join(f"{NAMES[name]} {wait}" for name, wait in runs["openmp"].items())
    dropped = sum(case["dropped"] for case in runs["backends"].values())
    absent = "".join(f" {NAMES[name]}: {why}." for name, why in runs["absent"].items())
    return f"\n\nOpenMP's waiting, the best of each: {waits}. Samples dropped for a neighbour: {dropped}.{absent}"


def traffic_table(cases: dict[str, Any]) -> str:
    """Results for each number of registered adapters, by the counters of the last sample."""
    rows = [
        "| registered | tokens a second | found on the device | loads | a load, median; p95 | failed |",
        "|---|---|---|---|---|---|",
    ]
    for many, rate in registered_line(cases).items():
        last = cases[f"registered {many}"]["kept"][-1]
        asked = last["num_hits"] + last["num_misses"]
        hits = f"{100 * last['num_hits'] / asked:.0f} %" if asked else "–"
        load = f"{last['load_ms_median']:.0f}; {last['load_ms_p95']:.0f} ms"
        rows.append(f"| {many:,} | {rate:,.0f} | {hits} | {last['num_loads']} | {load} | {len(last['failures'])} |")
    return "\n".join(rows)


def start_table(engine: dict[str, Any]) -> str:
    first, second = engine["starts"]
    memory = engine["memory"]
    lines = {
        "the first start, which builds and packs": f"{first['start_s']:.1f} s",
        "the second, which reads what is packed": f"{second['start_s']:.1f} s",
        "resident when it is ready": mib(second["rss_bytes"]),
        "of it the base's weights": mib(second["base_bytes"]),
        "the cache's budget for adapters": mib(memory["budget_bytes"]),
        "resident before all traffic": mib(memory["rss_before_bytes"]),
        "resident after it": mib(memory["rss_after_bytes"]),
        "the most that it ever held": mib(memory["peak_rss_bytes"]),
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in lines.items())
    return f"The engine's process on `{engine['kernel']}`.\n\n| | |\n|---|---|\n{rows}"


def mib(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"


def distinct_lines(backends: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Contender → adapters in the batch → tokens per second."""
    lines: dict[str, dict[int, float]] = {}
    for case, figures in backends.items():
        player, _, kind = case.partition("/")
        if (
            player in NAMES
            and player != "transformers"
            and kind[0] == "k"
            and kind != "k0"
            and figures["tokens_per_s"]
        ):
            lines.setdefault(NAMES[player], {})[int(kind[1:])] = figures["tokens_per_s"]
    return lines


def registered_line(cases: dict[str, Any]) -> dict[int, float]:
    """Registered adapters → tokens per second, the median of the samples."""
    kept = {name: case["kept"] for name, case in cases.items() if name.startswith("registered ") and case["kept"]}
    rates = {int(name.split()[1]): sorted(one["tokens_per_s"] for one in runs) for name, runs in kept.items()}
    return {many: each[len(each) // 2] for many, each in sorted(rates.items())}
