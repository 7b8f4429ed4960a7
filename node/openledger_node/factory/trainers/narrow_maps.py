"""Frozen linear maps in 4 or 8 bits that a gradient passes through, so that an adapter above them can learn.

Only the narrow numbers stay in memory. The forward pass widens a map piece by piece, and the backward pass widens it
again, because autograd would otherwise keep every wide map of the base until then.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .narrow_matrix import GroupMatrix, look_up, product, row_pieces


class NarrowProduct(torch.autograd.Function):
    """The product of inputs and a frozen narrow matrix."""

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
