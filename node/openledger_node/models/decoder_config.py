"""The configuration of a decoder, read from a base's config.json: sizes, and its differences from Llama."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from openledger_protocol.errors import AdapterRefusedError

from ..errors import ModelError
from .adapter_files.layout import LoraLayout
from .config_fields import GENERATION_CONFIG, check_sizes, read_fields, reading
from .families import ELSEWHERE, FAMILIES, DecoderFamily, Fields, trait_of
from .rope import ROPE_TYPES, Rope, rope_from, sliding_rope_from
from .stored_format import StoredFormat, stored_format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FULL, SLIDING = "full_attention", "sliding_attention"
ACTIVATIONS = ("silu", "gelu_pytorch_tanh")

VARIANTS = {
    "is_fused": "fused qkv_proj and gate_up_proj",
    "window": "a sliding window",
    "rope_sliding": "local positions",
    "rotated_share": "partly rotated heads",
    "query_scalar": "its own scale of attention",
    "attention_cap": "soft caps",
    "logit_cap": "soft caps",
    "activation": "GeGLU",
    "scales_embedding": "a scaled embedding",
    "has_post_norms": "norms after attention and MLP",
    "has_offset_norms": "norms around 1",
}
"""Differences from Llama in words, by fields of DecoderConfig."""


class OtherDecoderError(ModelError):
    """The base needs another decoder than ours; transformers may have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Sizes and variants of one base."""

    vocab_size: int
    d_model: int
    d_mlp: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_max: int
    rope: Rope
    norm_eps: float
    is_tied: bool  # the output head is the embedding
    has_qkv_bias: bool
    has_o_bias: bool
    has_mlp_bias: bool
    has_qk_norm: bool
    end_ids: tuple[int, ...]
    prefixes: tuple[str, ...] = ("model.",)  # of tensors and modules; the first that is there counts
    is_fused: bool = False  # in its files and its adapters
    window: int = 0  # tokens that a sliding layer sees, itself included; 0: all
    sliding: frozenset[int] = frozenset()  # layers with the window, and with `rope_sliding` if there is one
    rope_sliding: Rope | None = None
    rotated_share: float = 1.0  # the part of each head that positions turn
    query_scalar: float = 0.0  # its root divides scores; 0: head_dim
    attention_cap: float = 0.0  # scores are cap · tanh(score / cap); 0: as they are
    logit_cap: float = 0.0
    activation: str = "silu"
    scales_embedding: bool = False  # by the root of d_model
    has_post_norms: bool = False
    has_offset_norms: bool = False  # stored as the multiplier less 1
    stored: StoredFormat | None = None  # the narrow format of its files, if they have one

    @property
    def d_q(self) -> int:
        """Width of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def rotary_dim(self) -> int:
        """The numbers of each head that positions turn, from the front."""
        return int(self.head_dim * self.rotated_share)

    @property
    def attention_scale(self) -> float:
        """The factor of attention scores."""
        return float((self.query_scalar or self.head_dim) ** -0.5)

    @property
    def rope_scale(self) -> float:
        """The factor of the positions' cosines and sines."""
        return self.rope.scale

    def rope_frequencies(self) -> "NDArray[np.float32]":
        """Radians a token for each pair of a head's numbers, (rotary_dim / 2,)."""
        return self.rope.frequencies(self.rotary_dim)

    def rope_of(self, layer: int) -> Rope:
        """The positions of a layer."""
        return self.rope_sliding if self.rope_sliding and layer in self.sliding else self.rope

    def window_of(self, layer: int) -> int:
        """The tokens that a layer sees, each token itself included; 0: all."""
        return self.window if layer in self.sliding else 0

    @property
    def windows(self) -> tuple[int, ...]:
        """The different windows of its layers."""
        return tuple(sorted({self.window_of(layer) for layer in range(self.num_layers)}))

    def within(self, context: int) -> "DecoderConfig":
        """The same base for sequences of up to `context` tokens; a window that holds all of them is none."""
        return replace(self, window=0) if context <= self.window else self

    @property
    def trained_context(self) -> int:
        """The longest context at which short sequences are still answered as in training.

        Beyond it, a longrope turns every token by other factors.
        """
        return self.rope.original_context if self.rope.type == "longrope" else self.context_max

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of its differences from Llama."""
        other = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        own_rope = ("longrope",) if self.rope.type == "longrope" else ()
        return (*dict.fromkeys(VARIANTS[name] for name in other if name in VARIANTS), *own_rope)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The linear maps of a layer by group; those of a group read the same input and are one product."""
        return FUSED_GROUPS if self.is_fused else GROUPS

    @property
    def site_dims(self) -> dict[str, tuple[int, int]]:
        """The (d_in, d_out) of each linear map of a layer."""
        d, q, kv, m = self.d_model, self.d_q, self.d_kv, self.d_mlp
        dims = {
            "q_proj": (d, q),
            "k_proj": (d, kv),
            "v_proj": (d, kv),
            "qkv_proj": (d, q + 2 * kv),
            "o_proj": (q, d),
            "gate_proj": (d, m),
            "up_proj": (d, m),
            "gate_up_proj": (d, 2 * m),
            "down_proj": (m, d),
        }
        return {module: dims[module] for modules in self.groups.values() for module in modules}

    def paths_of(self, layer: int | None, module: str) -> list[str]:
        """The paths that a linear map may have in PEFT's files."""
        group = next(group for group, modules in self.groups.items() if module in modules)
        return [f"{prefix}layers.{layer}.{BLOCK_OF[group]}.{module}" for prefix in self.prefixes]


GROUPS: dict[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
FUSED_GROUPS = {**GROUPS, "qkv": ("qkv_proj",), "gate_up": ("gate_up_proj",)}
BLOCK_OF = {"qkv": "self_attn", "o": "self_attn", "gate_up": "mlp", "down": "mlp"}


def read_config(folder: Path) -> DecoderConfig:
    """Read config.json.

    Raises:
        OtherDecoderError: our decoder does not support a variant; the message names it.
        ModelError: it is damaged, its sizes are not those of a model, or its format of numbers is not read.
    """
    fields = read_fields(folder)
    with reading(folder.name):
        return config_from(folder, fields, end_ids=end_ids(folder))


def config_from(folder: Path, outer: Fields, *, end_ids: tuple[int, ...] = ()) -> DecoderConfig:
    """Read the fields of the config.json of the base in `folder`, whose name appears in refusals.

    Raises:
        OtherDecoderError: our decoder does not support a variant; the message names it.
        ModelError: its sizes are not those of a model.
    """
    if (family := FAMILIES.get(str(outer.get("model_type")))) is None:
        raise OtherDecoderError(_other(folder, outer))
    found = {**family.absent, **outer, **(outer.get("text_config") or {})}
    check_sizes(found, folder.name)
    rope, rope_sliding = rope_from(found), sliding_rope_from(found)
    activation = found.get("hidden_activation") or found.get("hidden_act", "silu")
    _refuse(folder, "hidden_act", activation, ACTIVATIONS)
    for each in (rope, rope_sliding or rope):
        _refuse(folder, "rope scaling", each.type, ROPE_TYPES)
    _refuse(folder, "use_bidirectional_attention", found.get("use_bidirectional_attention"), (None, False))
    for kind in found.get("layer_types") or ():
        _refuse(folder, "layer_types", kind, (FULL, SLIDING))
    num_heads = found["num_attention_heads"]
    num_kv_heads = found.get("num_key_value_heads") or num_heads
    if num_heads % num_kv_heads:
        raise ModelError(f"{folder.name} has {num_heads} heads and {num_kv_heads} key heads, which must divide them")
    sliding = _sliding_layers(found, family)
    variants: Fields = {
        **dict.fromkeys(("has_qkv_bias", "has_o_bias"), bool(found.get("attention_bias", False))),
        "has_qk_norm": False,
        **family.variants,
        **{name: found.get(key) or 0.0 for name, key in family.named.items()},
    }
    config = DecoderConfig(
        vocab_size=found["vocab_size"],
        d_model=found["hidden_size"],
        d_mlp=found["intermediate_size"],
        num_layers=found["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=found.get("head_dim") or found["hidden_size"] // num_heads,
        context_max=found["max_position_embeddings"],
        rope=rope,
        rope_sliding=rope_sliding,
        rotated_share=_rotated_share(found),
        norm_eps=found["rms_norm_eps"],
        is_tied=bool(found.get("tie_word_embeddings", False)),
        has_mlp_bias=bool(found.get("mlp_bias", False)),
        activation=activation,
        window=(found.get("sliding_window") or 0) if sliding else 0,
        sliding=sliding,
        end_ids=end_ids,
        stored=stored_format(found, folder.name),
        **variants,
    )
    _check_longrope(folder, config)
    return config


def _sliding_layers(found: Fields, family: DecoderFamily) -> frozenset[int]:
    kinds = found.get("layer_types")
    layers = range(found["num_hidden_layers"])
    if kinds:
        return frozenset(layer for layer in layers if kinds[layer] == SLIDING)
    return frozenset(layer for layer in layers if family.is_sliding(found, layer))


def _check_longrope(folder: Path, config: DecoderConfig) -> None:
    for rope in (config.rope, config.rope_sliding or config.rope):
        lengths = {len(rope.short_factors), len(rope.long_factors)}
        if rope.type == "longrope" and lengths != {config.rotary_dim // 2}:
            raise ModelError(
                f"{folder.name}: config.json has a longrope with lists of {sorted(lengths)} factors, and a head has "
                f"{config.rotary_dim // 2} pairs that turn: pull the base again"
            )


def _other(folder: Path, fields: Fields) -> str:
    trait = trait_of(fields)
    kind = f"a {fields.get('model_type')!r} model" + (f" with {trait}" if trait else "")
    return f"{folder.name} is {kind}, not one of {', '.join(FAMILIES)}: {ELSEWHERE}"


def check_fits_base(layout: LoraLayout, folder: Path) -> None:
    """Compare an adapter with a base's folder; for another architecture the check waits until the adapter is loaded.

    Raises:
        AdapterRefusedError: names the first place where they differ.
        ModelError: the base can't be served.
    """
    try:
        config = read_config(folder)
    except OtherDecoderError:
        return  # its modules are unknown until transformers has opened it
    check_fits(layout, config)


def check_fits(layout: LoraLayout, config: DecoderConfig) -> None:
    """Compare the linear maps that an adapter changes with those of the base.

    Raises:
        AdapterRefusedError: names the first place where they differ.
    """
    seen: set[tuple[int | None, str]] = set()
    for site in layout.sites:
        found, expected = (site.d_in, site.d_out), config.site_dims.get(site.module)
        if expected is None or site.path not in config.paths_of(site.layer, site.module):
            raise AdapterRefusedError(f"{site.path} is not served: no such linear map is in a layer of the base")
        if site.layer is None or site.layer >= config.num_layers or found != expected:
            raise AdapterRefusedError(
                f"layers.{site.layer}.{site.module} maps {found[0]} to {found[1]}; "
                f"the base has {config.num_layers} layers, where it maps {expected[0]} to {expected[1]}"
            )
        if (site.layer, site.module) in seen:
            raise AdapterRefusedError(f"{site.path} is changed twice, under two names")
        seen.add((site.layer, site.module))


def _rotated_share(fields: Fields) -> float:
    """The rotated part of each head."""
    rope = fields.get("rope_parameters") or {}
    return float(rope.get("partial_rotary_factor") or fields.get("partial_rotary_factor") or 1.0)


def _refuse(folder: Path, what: str, value: object, served: tuple[object, ...]) -> None:
    if value not in served:
        raise OtherDecoderError(
            f"{folder.name} has {what} = {value!r}, which the decoder of torch_lora does not support: {ELSEWHERE}"
        )


def end_ids(folder: Path) -> tuple[int, ...]:
    """Tokens that end an answer: generation_config.json lists all of them, config.json often only one.

    Raises:
        ModelError: a file is damaged, so that nothing tells where an answer ends.
    """
    generation = read_fields(folder, GENERATION_CONFIG) if (folder / GENERATION_CONFIG).exists() else {}
    config = read_fields(folder)
    of_text = (config.get("text_config") or {}).get("eos_token_id")
    found = generation.get("eos_token_id", config.get("eos_token_id", of_text))
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)
