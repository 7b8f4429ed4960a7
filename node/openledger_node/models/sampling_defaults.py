"""Sampling values for requests that leave them out, as a base's makers recommend them.

The names are those of generation_config.json, which Hugging Face's transformers and vLLM read too.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from openledger_protocol.constants import PENALTY_MAX, TEMPERATURE_MAX, TOP_K_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDefaults:
    """A value for each field that a request may leave out; those here have no effect."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps all tokens
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def to_plain(self) -> dict[str, float]:
        """The values by their names."""
        return asdict(self)


NEUTRAL: Final = SamplingDefaults()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


BOUNDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "temperature": (lambda value: _is_number(value) and 0 <= value <= TEMPERATURE_MAX, f"0 to {TEMPERATURE_MAX:g}"),
    "top_p": (lambda value: _is_number(value) and 0 < value <= 1, "over 0, at most 1"),
    "top_k": (
        lambda value: _is_number(value) and -1 <= value <= TOP_K_MAX and value % 1 == 0,
        f"a whole number from -1 to {TOP_K_MAX}",
    ),
    "min_p": (lambda value: _is_number(value) and 0 <= value <= 1, "0 to 1"),
    "repetition_penalty": (
        lambda value: _is_number(value) and 0 < value <= PENALTY_MAX,
        f"over 0, at most {PENALTY_MAX:g}",
    ),
}
"""The bounds of each value, those of a request, and their words. A comparison with NaN is false."""

GGUF_KEYS: Final[Mapping[str, str]] = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repetition_penalty",
}
"""The same names in the metadata of a GGUF file, as llama.cpp writes and reads them."""


def read_sampling(fields: Mapping[str, Any]) -> tuple[SamplingDefaults | None, list[str]]:
    """Read the fields of a generation_config.json: the values, None if it states none, and what was ignored.

    `do_sample: false` means the likeliest token, so the values that only shape a draw have no effect, as in
    transformers. vLLM does not read that field.
    """
    stated = {name: fields[name] for name in BOUNDS if fields.get(name) is not None}
    draws = fields.get("do_sample")
    if draws is False:
        stated = {name: value for name, value in stated.items() if name == "repetition_penalty"}
        stated["temperature"] = 0
    ignored = [
        f"{name} = {str(value)[:20]} (must be {BOUNDS[name][1]})"
        for name, value in stated.items()
        if not BOUNDS[name][0](value)
    ]
    if draws is not None and not isinstance(draws, bool):
        ignored.append(f"do_sample = {str(draws)[:20]} (must be true or false)")
    kept = {name: _of_type(name, value) for name, value in stated.items() if BOUNDS[name][0](value)}
    return (SamplingDefaults(**kept) if kept else None), ignored  # type: ignore[arg-type]


def _of_type(name: str, value: float) -> float:
    return max(int(value), 0) if name == "top_k" else float(value)  # -1 is a common way to say "off"


def sampling_of_gguf(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of generation_config.json for the values that a GGUF file states; those out of bounds are left out.

    A GGUF file holds 32-bit floats, of which seven digits are exact.
    """
    stated = {name: metadata[key] for key, name in GGUF_KEYS.items() if key in metadata}
    kept = {name: _of_type(name, value) for name, value in stated.items() if BOUNDS[name][0](value)}
    rounded = {name: float(f"{value:.7g}") if isinstance(value, float) else value for name, value in kept.items()}
    return {"do_sample": True, **rounded} if rounded else {}
