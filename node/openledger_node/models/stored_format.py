"""The narrow format in which a checkpoint stores its linear maps, from `quantization_config` in config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError

BITS_MAX = 64
READ = "AWQ, GPTQ, nf4 or packed integers of compressed-tensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFormat:
    """One format for all linear maps of layers; those that a checkpoint leaves wide are found by their tensors."""

    method: str  # awq, gptq, bitsandbytes, compressed-tensors, gguf
    bits: int
    group: int | None  # numbers that share a scale; None: a whole row
    is_float: bool = False  # the numbers stand for values of a table
    has_zero_less_one: bool = False  # GPTQ's first version stores each zero less one
    mean_bits: float | None = None  # of a number with all that belongs to it, in a GGUF file of several formats

    @property
    def served(self) -> str:
        """The name of the format in profiles and advertisements."""
        return "nf4" if self.is_float else f"int{self.bits}"

    @property
    def bits_per_number(self) -> float:
        """Bits of a number with its share of the scale, and of the zero, as the engine holds them."""
        if self.mean_bits is not None:
            return self.mean_bits
        scale_bits = 32 if self.is_float else 16 + 8
        return self.bits + (scale_bits / self.group if self.group else 0)


def is_known_served(fields: object) -> bool:
    """Return True if a config.json says that the node's own engine reads its GGUF file, so nobody has to look.

    The config.json of a file with wide weights does not say so.
    """
    gguf = fields.get("gguf") if isinstance(fields, dict) else None
    return isinstance(gguf, dict) and gguf.get("unserved") == ""


def stored_format(fields: Mapping[str, Any], name: str) -> StoredFormat | None:
    """The format that a base's config.json states; None for numbers in a float format.

    Raises:
        ModelError: torch_lora does not read it; the message names it and says what to do.
    """
    if gguf := fields.get("gguf"):  # the node wrote it when it described the file
        bits, mean_bits = int(gguf["bits"]), float(gguf["bits_per_number"])
        if not (1 <= bits <= BITS_MAX and 1 <= mean_bits <= BITS_MAX):  # of a config.json that a stranger wrote
            raise ValueError(f"gguf states numbers of {bits} and {mean_bits} bits")
        return StoredFormat(method="gguf", bits=bits, group=None, mean_bits=mean_bits)
    found = fields.get("quantization_config") or fields.get("compression_config")
    if not found:
        return None
    method = str(found.get("quant_method", "")).lower()
    read = {
        "awq": _awq,
        "gptq": _gptq,
        "bitsandbytes": _bitsandbytes,
        "compressed-tensors": _compressed_tensors,
    }.get(method)
    if read is None:
        raise _unread(name, f"{method or 'a format without a name'}")
    try:
        return read(found, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"quantization_config in {name}'s config.json is not whole ({type(error).__name__}: {error}): "
            "pull the base again"
        ) from error


def _awq(found: Mapping[str, Any], name: str) -> StoredFormat:
    layout = str(found.get("version", "gemm")).lower()
    _require(name, f"AWQ in the layout {layout}", layout == "gemm")
    bits = int(found.get("bits", found.get("w_bit", 4)))
    _require(name, f"AWQ in {bits} bits", bits == 4)
    group = found.get("group_size", found.get("q_group_size", 128))
    return StoredFormat(method="awq", bits=bits, group=_group(group))


def _gptq(found: Mapping[str, Any], name: str) -> StoredFormat:
    bits = int(found["bits"])
    _require(name, f"GPTQ in {bits} bits", bits in (4, 8))
    layout = str(found.get("checkpoint_format") or "gptq").lower()
    _require(name, f"GPTQ in the layout {layout}", layout in ("gptq", "gptq_v2"))
    _require(name, "GPTQ with formats of their own for some maps (dynamic)", not found.get("dynamic"))
    return StoredFormat(
        method="gptq", bits=bits, group=_group(found["group_size"]), has_zero_less_one=layout == "gptq"
    )


def _bitsandbytes(found: Mapping[str, Any], name: str) -> StoredFormat:
    _require(name, "bitsandbytes in 8 bits", bool(found.get("load_in_4bit", found.get("_load_in_4bit"))))
    kind = found.get("bnb_4bit_quant_type", "fp4")
    _require(name, f"bitsandbytes in {kind}", kind == "nf4")
    return StoredFormat(method="bitsandbytes", bits=4, group=64, is_float=True)


def _compressed_tensors(found: Mapping[str, Any], name: str) -> StoredFormat:
    layout = found.get("format")
    _require(name, f"compressed-tensors in the layout {layout}", layout == "pack-quantized")
    groups = list(found["config_groups"].values())
    _require(name, "compressed-tensors with several formats", len(groups) == 1)
    weights = groups[0]["weights"]
    bits = int(weights["num_bits"])
    is_read = weights.get("type", "int") == "int" and bits in (4, 8) and weights["strategy"] in ("group", "channel")
    _require(name, f"compressed-tensors with {weights['strategy']} scales of {bits} bits", is_read)
    _require(name, "compressed-tensors with quantised inputs", not groups[0].get("input_activations"))
    group = weights.get("group_size") if weights["strategy"] == "group" else None
    return StoredFormat(method="compressed-tensors", bits=bits, group=_group(group))


def _group(size: object) -> int | None:
    """The numbers that share a scale; -1 and null mean a whole row."""
    number = -1 if size is None else int(str(size))
    if number == 0 or number < -1:
        raise ValueError(f"group_size is {number}")
    return None if number == -1 else number


def _require(name: str, what: str, is_read: bool) -> None:
    if not is_read:
        raise _unread(name, what)


def _unread(name: str, what: str) -> ModelError:
    return ModelError(
        f"{name} is stored as {what}, which torch_lora does not read: "
        f'set [inference] backend to "vllm", which reads more formats, or choose the base in bfloat16, or as {READ}'
    )
