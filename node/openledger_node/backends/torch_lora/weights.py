"""A base's tensors from its files, in the serving format, with q|k|v and gate|up fused."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from openledger_node.engine.memory_plan import KEPT_BITS
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import BLOCK_OF, GROUPS, DecoderConfig

from .checkpoint import Reader, ShapesOnly, open_reader
from .group_matrix import GroupMatrix
from .matrices import Matrix, MatrixParts, look_up, product, size_bytes_of, stacked
from .quantised import OUTER, quantise

NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
POST_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}
QK_NORMS = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
"""A layer's norms by their names here, with their names in a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """One fused linear map of a layer."""

    weight: Matrix  # (d_out, d_in), the layout of torch's linear
    bias: Tensor | None

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map `inputs` (tokens, d_in) to (tokens, d_out)."""
        return product(inputs, self.weight, self.bias)

    @property
    def size_bytes(self) -> int:
        """The bytes of matrix and bias."""
        return size_bytes_of(self.weight) + (0 if self.bias is None else self.bias.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer."""

    attention_norm: Tensor  # (d_model,)
    mlp_norm: Tensor  # (d_model,)
    q_norm: Tensor | None  # (head_dim,)
    k_norm: Tensor | None
    attention_post_norm: Tensor | None  # (d_model,) of what attention adds to the residual
    mlp_post_norm: Tensor | None
    maps: dict[str, LinearMap]  # by group

    @property
    def size_bytes(self) -> int:
        """The bytes of the layer."""
        own = (self.attention_norm, self.mlp_norm, self.q_norm, self.k_norm)
        norms = (*own, self.attention_post_norm, self.mlp_post_norm)
        norm_bytes = sum(int(each.nbytes) for each in norms if each is not None)
        return norm_bytes + sum(each.size_bytes for each in self.maps.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The whole base."""

    embedding: Tensor | GroupMatrix  # (vocabulary, d_model); beside a GPU, one that is not the head stays on the host
    layers: tuple[LayerWeights, ...]
    final_norm: Tensor  # (d_model,)
    head: Matrix  # (vocabulary, d_model); the embedding itself if they are tied

    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings (tokens, d_model) of `ids` (tokens,), which are on the host."""
        return look_up(self.embedding, ids).to(self.final_norm.device)

    @property
    def size_bytes(self) -> int:
        """The bytes of the whole base; a head that is the embedding counts once."""
        outer = (self.embedding, self.final_norm, *(() if self.head is self.embedding else (self.head,)))
        return sum(map(size_bytes_of, outer)) + sum(layer.size_bytes for layer in self.layers)


def read_tensors(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> Iterator[tuple[str, Matrix]]:
    """Yield every tensor of a base under its name here, fused, on the host; matrices as they are stored.

    Raises:
        ModelError: a tensor is missing or contradicts config.json, or a file is damaged; nothing was yielded.
    """
    with whole_files(folder):
        yield from _tensors(checked_reader(folder, config, dtype), config)


@contextmanager
def whole_files(folder: Path) -> Iterator[None]:
    """Turn the errors of reading a base's files into one that says what to do.

    Raises:
        ModelError: a tensor is missing, or a file is damaged.
    """
    try:
        yield
    except (SafetensorError, KeyError, OSError) as error:
        raise ModelError(f"the weights in {folder} are not whole ({error}): pull the base again") from error


def checked_reader(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> Reader:
    """Open a base's files, and compare the shapes of all matrices with config.json.

    Raises:
        ModelError: a shape contradicts config.json.
        SafetensorError, KeyError, OSError: a tensor is missing, or a file is damaged.
    """
    read = open_reader(folder, config, dtype)
    _check_shapes(_tensors(ShapesOnly(read), config), config)
    return read


def _tensors(read: Reader, config: DecoderConfig) -> Iterator[tuple[str, Matrix]]:
    prefix = prefix_in(read, config)
    yield "embedding", read.matrix(f"{prefix}embed_tokens.weight")
    for number in range(config.num_layers):
        yield from _layer_tensors(read, config, number, f"{prefix}layers.{number}")
    yield "final_norm", _norm(read(f"{prefix}norm.weight"), config)
    if not config.is_tied:
        yield "head", read.matrix("lm_head.weight")


def _check_shapes(tensors: Iterable[tuple[str, Matrix]], config: DecoderConfig) -> None:
    """Compare the matrices with config.json.

    Raises:
        ModelError: names the first that has another shape.
    """
    outer = (config.vocab_size, config.d_model)
    expected = {"embedding": outer, "head": outer}
    for group, modules in config.groups.items():
        dims = [config.site_dims[module] for module in modules]
        expected[f"{group}.weight"] = sum(d_out for _, d_out in dims), dims[0][0]
    for name, tensor in tensors:
        wanted = expected.get(name if name in expected else ".".join(name.split(".")[2:]))
        if wanted and tuple(tensor.shape) != wanted:
            raise ModelError(
                f"{name} has the shape {tuple(tensor.shape)}, where config.json says {wanted}: pull the base again"
            )


def weights_from(
    tensors: Iterable[tuple[str, Matrix]], config: DecoderConfig, *, device: torch.device, quantisation: str = "none"
) -> Weights:
    """Bring tensors to the device one by one, in the format to serve them in, and arrange all by layer.

    `quantisation`: "stored" keeps matrices as they are.
    """
    host = torch.device("cpu")
    placed = {
        name: _placed(name, tensor, host if name == "embedding" and not config.is_tied else device, quantisation)
        for name, tensor in tensors
    }

    def own(name: str) -> Tensor | None:
        tensor = placed.get(name)
        assert tensor is None or isinstance(tensor, Tensor), "only matrices are narrow"
        return tensor

    def plain(name: str) -> Tensor:
        tensor = own(name)
        assert tensor is not None, "every base has it"
        return tensor

    def layer(number: int) -> LayerWeights:
        at = f"layers.{number}"
        return LayerWeights(
            attention_norm=plain(f"{at}.attention_norm"),
            mlp_norm=plain(f"{at}.mlp_norm"),
            q_norm=own(f"{at}.q_norm"),
            k_norm=own(f"{at}.k_norm"),
            attention_post_norm=own(f"{at}.attention_post_norm"),
            mlp_post_norm=own(f"{at}.mlp_post_norm"),
            maps={
                group: LinearMap(weight=placed[f"{at}.{group}.weight"], bias=own(f"{at}.{group}.bias"))
                for group in GROUPS
            },
        )

    embedding = placed["embedding"]
    assert isinstance(embedding, Tensor | GroupMatrix), "it is one matrix"
    return Weights(
        embedding=embedding,
        layers=tuple(layer(number) for number in range(config.num_layers)),
        final_norm=plain("final_norm"),
        head=embedding if config.is_tied else placed["head"],
    )


MAP_ENDINGS = tuple(f".{group}.weight" for group in GROUPS)


def _placed(name: str, tensor: Matrix, device: torch.device, quantisation: str) -> Matrix:
    """One tensor in its final form; nothing wide of it is left on the device when this returns."""
    if name.endswith(MAP_ENDINGS):
        return narrowed(tensor, device, quantisation)
    if name in ("embedding", "head"):
        return narrowed(tensor, device, OUTER.get(quantisation, quantisation))
    return tensor.to(device)


def narrowed(matrix: Matrix, device: torch.device, quantisation: str) -> Matrix:
    """A matrix in the format to serve it in; one that is stored as narrow as that, or narrower, stays as it is."""
    if isinstance(matrix, MatrixParts):
        return stacked([narrowed(part, device, quantisation) for part in matrix.parts])
    if isinstance(matrix, GroupMatrix):
        placed = matrix.to(device)
        is_kept = placed.bits <= KEPT_BITS.get(quantisation, 0)
        return placed if is_kept else quantise(placed.wide(), quantisation, device)
    assert isinstance(matrix, Tensor), "parts have no parts"
    return quantise(matrix, quantisation, device)


def prefix_in(read: Reader, config: DecoderConfig) -> str:
    """The beginning of the names of the decoder's tensors; versions of transformers write different ones."""
    for prefix in config.prefixes[:-1]:
        with suppress(KeyError):
            read(f"{prefix}norm.weight")
            return prefix
    return config.prefixes[-1]


def _norm(weight: Tensor, config: DecoderConfig) -> Tensor:
    """The multiplier of a norm; it stays in float32 if the checkpoint has it less 1, since the sum is not narrow."""
    return 1 + weight.float() if config.has_offset_norms else weight


def _layer_tensors(read: Reader, config: DecoderConfig, number: int, source: str) -> Iterator[tuple[str, Matrix]]:
    layer = f"layers.{number}"
    norms = (POST_NORMS if config.has_post_norms else NORMS) | (QK_NORMS if config.has_qk_norm else {})
    for own, name in norms.items():
        yield f"{layer}.{own}", _norm(read(f"{source}.{name}.weight"), config)
    has_bias = {"qkv": config.has_qkv_bias, "o": config.has_o_bias}
    for group, modules in config.groups.items():
        names = [f"{source}.{BLOCK_OF[group]}.{module}" for module in modules]
        yield f"{layer}.{group}.weight", stacked([read.matrix(f"{name}.weight") for name in names])
        if has_bias.get(group, config.has_mlp_bias):
            yield f"{layer}.{group}.bias", torch.cat([read(f"{name}.bias") for name in names])
