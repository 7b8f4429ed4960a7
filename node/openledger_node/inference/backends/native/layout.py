"""Weights as the compiled step reads them: bfloat16 in the order of reading (the layouts are drawn in engine.cpp)."""

import numpy as np
from numpy.typing import NDArray

LANES = 16
ROW = 32
"""Numbers of a row that are multiplied at once: inputs are padded to it with zeros."""

TILE_NUMBERS = 512
"""Of a whole tile: so many zeros follow an adapter's last matrix, since tiles are always loaded whole."""

Bits = NDArray[np.uint16]  # bfloat16
Floats = NDArray[np.float32]


def round_up(number: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `number`."""
    return -(-number // unit) * unit


def narrow(numbers: Floats) -> Bits:
    """Round float32 to bfloat16, ties to even; what is no number stays none."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if not np.isfinite(numbers).all():
        rounded[np.isnan(numbers)] = 0x7FC0
    return rounded


def widen(bits: Bits) -> Floats:
    """bfloat16 to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def pad(matrix: Bits, rows: int, columns: int) -> Bits:
    """Pad with zeros to whole multiples of `rows` and `columns`."""
    n, k = matrix.shape
    if n % rows == 0 and k % columns == 0:
        return np.ascontiguousarray(matrix)
    padded = np.zeros((round_up(n, rows), round_up(k, columns)), np.uint16)
    padded[:n, :k] = matrix
    return padded


def product_layout(matrix: Bits, *, inputs: int = ROW) -> Bits:
    """(outputs, inputs) → [n/16][k/2][16][2], padded to whole tiles of outputs and multiples of `inputs`."""
    padded = pad(matrix, LANES, inputs)
    n, k = padded.shape
    pairs = padded.view(np.uint32).reshape(n // LANES, LANES, k // 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1)).view(np.uint16).reshape(-1)


def interleave(first: Bits, second: Bits) -> Bits:
    """Two matrices of one shape in product layout, their tiles taking turns."""
    tiles = round_up(first.shape[0], LANES) // LANES
    packed = [product_layout(matrix).reshape(tiles, -1) for matrix in (first, second)]
    return np.stack(packed, axis=1).reshape(-1)


def ranks_layout(matrix: Bits) -> Bits:
    """(ranks, inputs) → [rank/16][k/2][≤ 16][2]: the last tile has as many ranks as are left; inputs padded to 32."""
    padded = pad(matrix, 1, ROW)
    tiles = [padded[first : first + LANES] for first in range(0, len(padded), LANES)]
    return np.concatenate([tile.view(np.uint32).T.reshape(-1) for tile in tiles]).view(np.uint16)
