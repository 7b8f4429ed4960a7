"""A base for training whose weights stay in 4 bits, read and quantised tensor by tensor as the engine does it.

The model of transformers is made without any numbers. Each linear map then gets its matrix in the engine's int4, or
as the files have it if that is as narrow; embedding and head get 8 bits. So loading takes the final size and one
matrix more, and the adapter learns above the very numbers that a node serves. So this is the one place where a
trainer imports from a backend.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from ...backends.torch_lora.checkpoint import Reader
from ...backends.torch_lora.group_matrix import GroupMatrix, row_pieces
from ...backends.torch_lora.matrices import look_up, product
from ...backends.torch_lora.quantised import OUTER
from ...backends.torch_lora.weights import checked_reader, narrowed, prefix_in, whole_files
from ...models.causal_lm import empty_causal_lm
from ...models.decoder_config import DecoderConfig, read_config
from .split_model import text_model

FORMAT = "int4"
HOST = torch.device("cpu")


def open_narrow_base(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Open a base in 4 bits; products are computed in `dtype`.

    Raises:
        ModelError: its decoder or its format is one that the engine does not read, or its files are not whole.
        OSError, ValueError: transformers does not know its architecture.
    """
    config = read_config(folder)
    model: Any = empty_causal_lm(folder, dtype)
    _leave_only_text(model)
    with whole_files(folder):
        _fill(model, checked_reader(folder, config, dtype), config, device)
    with suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model.to(device)


def _leave_only_text(model: Any) -> None:
    """Remove the parts that take images: rows are text, and they would stay without numbers."""
    decoder = text_model(model)
    if decoder is not model.model:
        for name, part in list(model.model.named_children()):
            if part is not decoder:
                setattr(model.model, name, None)


def _fill(model: Any, read: Reader, config: DecoderConfig, device: torch.device) -> None:
    decoder, prefix = text_model(model), prefix_in(read, config)

    def matrix(name: str, quantisation: str, at: torch.device = device) -> GroupMatrix:
        found = narrowed(read.matrix(name), at, quantisation)
        assert isinstance(found, GroupMatrix), "a single matrix in int4 or int8 is one"
        return found

    embedding = matrix(f"{prefix}embed_tokens.weight", OUTER[FORMAT], device if config.is_tied else HOST)
    scale = getattr(decoder.embed_tokens, "scalar_embed_scale", None)
    decoder.embed_tokens = NarrowEmbedding(embedding, scale)
    model.lm_head = NarrowLinear(embedding if config.is_tied else matrix("lm_head.weight", OUTER[FORMAT]))
    for name, module in list(decoder.named_modules()):
        if type(module) is nn.Linear:
            bias = None if module.bias is None else read(f"{prefix}{name}.bias").to(device)
            _replace(decoder, name, NarrowLinear(matrix(f"{prefix}{name}.weight", FORMAT), bias))
    for name, parameter in list(decoder.named_parameters()):
        if parameter.is_meta:
            owner, _, last = name.rpartition(".")
            setattr(decoder.get_submodule(owner), last, _frozen(read(f"{prefix}{name}"), device))


def _replace(decoder: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(decoder.get_submodule(owner), last, module)


def _frozen(tensor: Tensor, device: torch.device) -> nn.Parameter:
    return nn.Parameter(tensor.to(device), requires_grad=False)


class NarrowProduct(torch.autograd.Function):
    """The product of inputs and a frozen narrow matrix, which a gradient passes through.

    Only the narrow numbers stay in memory. The forward pass widens a map piece by piece, and the backward pass widens
    it again, because autograd would otherwise keep every wide map of the base until then.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, matrix: GroupMatrix) -> Tensor:
        """Map inputs (…, d_in) to (…, d_out), in the number format that the matrix is widened to."""
        ctx.matrix, ctx.dtype = matrix, inputs.dtype
        flat = inputs.reshape(-1, matrix.shape[1]).to(matrix.dtype)
        return product(flat, matrix).view(*inputs.shape[:-1], matrix.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the inputs; the matrix is frozen and gets none."""
        matrix: GroupMatrix = ctx.matrix
        grad = grads[0].reshape(-1, matrix.shape[0])  # (tokens, d_out)
        # Summed in float32, because each piece of rows adds its part.
        found = torch.zeros(len(grad), matrix.shape[1], device=grad.device)
        for at in row_pieces(matrix.shape, grad.device):
            found += grad[:, at].to(matrix.dtype) @ matrix.rows(at).wide()
        return found.to(ctx.dtype).view(*grads[0].shape[:-1], matrix.shape[1]), None


class NarrowLinear(nn.Linear):
    """A frozen linear map in 4 or 8 bits. PEFT adapts it as it adapts `nn.Linear`."""

    def __init__(self, matrix: GroupMatrix, bias: Tensor | None = None) -> None:
        nn.Module.__init__(self)  # that of nn.Linear would allocate a wide weight
        self.out_features, self.in_features = matrix.shape
        self.matrix = matrix
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The widened matrix (d_out, d_in), made anew each time. DoRA in PEFT takes its rows' lengths from it."""
        return self.matrix.wide()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (…, d_in) to (…, d_out)."""
        outputs: Tensor = NarrowProduct.apply(inputs, self.matrix)  # type: ignore[no-untyped-call]
        return outputs if self.bias is None else outputs + self.bias


class NarrowEmbedding(nn.Module):
    """A frozen embedding in 4 or 8 bits; beside a GPU it may lie in main memory."""

    def __init__(self, matrix: GroupMatrix, scale: float | None = None) -> None:
        super().__init__()
        self.matrix = matrix
        self._scale = scale

    def forward(self, ids: Tensor) -> Tensor:
        """Look up ids (…) and return their embeddings (…, d_model), on the device of the ids."""
        found = look_up(self.matrix, ids.flatten()).to(ids.device).view(*ids.shape, -1)
        return found if self._scale is None else found * torch.tensor(self._scale, dtype=found.dtype)
