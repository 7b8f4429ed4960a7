"""Bar 7: correctness of answers, alone and in a batch."""

from typing import Any

from bars import Bar, bar
from contender import Contender
from field import Setting
from quiet import PlayerError
from work import folder_of, spread

ALONE = 4
"""Rows that are answered again alone."""

PROBABILITIES = "the largest difference of log probabilities, over the tokens that ours reports"


def measure_exactness(setting: Setting) -> tuple[list[Bar], dict[str, Any]]:
    """Run one process that opens PEFT's model in float32, and then ours in both formats."""
    shape, words = setting.shape, {**setting.words, "cache_folder": str(setting.packed)}
    contender = Contender("exact.py", words, setting.scratch / "exact.log")
    try:
        found = contender.ask(
            "compare",
            prompts=[prompt.ids for prompt in setting.prompts.draw(shape.batch)],
            adapters=[folder_of(source) for source in spread(setting.sources, shape.batch, shape.few)],
            answer_tokens=shape.exact_tokens,
            alone=min(ALONE, shape.batch),
        )
    except PlayerError as error:
        return exact_bars({}, str(error)), {}
    finally:
        contender.close()
    return exact_bars(found, ""), found


def exact_bars(found: dict[str, Any], why: str) -> list[Bar]:
    full, torch, fast = (found.get(name, {}) for name in ("float32", "torch", "accelerated"))
    is_same = torch.get("kernel") == fast.get("kernel")
    missing = why or (
        "this machine has no accelerated path, because of its processor or a missing compiler" if is_same else ""
    )
    tokens = min(full["tokens_as_peft"], full["tokens_alone"]) if full else None
    error = fast["error_mean"] / torch["error_mean"] if fast and not is_same else None
    bitwise = float(fast["is_bitwise"]) if fast and not is_same else None
    return [
        bar("fp32_logit_error", full.get("error_max"), "", 1e-4, None, better="lower", why=why or PROBABILITIES),
        bar("fp32_tokens_identical", tokens, "ratio", 1.0, None, why=why),
        bar("bf16_error_over_torch", error, "ratio", 1.0, 0.5, better="lower", why=missing),
        bar("bitwise_alone_and_in_batch", bitwise, "", 1.0, 1.0, why=missing or "a stretch: 1 is yes"),
    ]
