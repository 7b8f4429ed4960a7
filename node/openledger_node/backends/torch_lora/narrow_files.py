"""Narrow matrices of checkpoints, by the published layouts of AWQ, GPTQ, bitsandbytes and compressed-tensors.

Each is compared with `quantization_config` by its shapes alone, so that a contradiction is found before loading.
"""

import json
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from openledger_node.errors import ModelError
from openledger_node.models.stored_format import StoredFormat

from .group_matrix import GroupMatrix, pack, unpack
from .tensor_files import TensorFiles

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The column within eight of each nibble of a word, the lowest first."""

WORD_BITS = 32


class NarrowFiles(ABC):
    """The matrices that a checkpoint stores in one narrow format, by their names without `.weight`."""

    parts: tuple[str, ...]  # the tensors that each matrix has

    def __init__(self, stored: StoredFormat, files: TensorFiles, dtype: torch.dtype) -> None:
        self.stored = stored
        self.files = files
        self.dtype = dtype

    def has(self, stem: str) -> bool:
        """Return True if a matrix is stored in this format; some checkpoints leave a few wide."""
        return any(stem + part in self.files for part in self.parts)

    @abstractmethod
    def shape(self, stem: str) -> tuple[int, int]:
        """The (d_out, d_in) of a matrix.

        Raises:
            ModelError: its tensors are not whole, or contradict config.json.
        """

    @abstractmethod
    def matrix(self, stem: str) -> GroupMatrix:
        """Read a matrix whose shape was checked."""

    def part(self, stem: str, part: str) -> Tensor:
        """One of a matrix's tensors as it is stored."""
        return self.files.tensor(stem + part)

    def part_shape(self, stem: str, part: str) -> tuple[int, ...]:
        """The shape of one of a matrix's tensors.

        Raises:
            ModelError: it is missing.
        """
        if stem + part not in self.files:
            raise ModelError(f"the weights have no {stem}{part}, which {self._told} needs: pull the base again")
        return self.files.shape(stem + part)

    def require(self, stem: str, part: str, *expected: float) -> None:
        """Compare a tensor's shape with what config.json and the other tensors say.

        Raises:
            ModelError: it differs, or is missing.
        """
        if (found := self.part_shape(stem, part)) != expected:
            wanted = ", ".join(f"{size:g}" for size in expected)
            raise ModelError(
                f"{stem}{part} has the shape {found}, where {self._told} says ({wanted}): pull the base again"
            )

    def group(self, d_in: int) -> int:
        """Numbers that share a scale in a row of `d_in`."""
        return self.stored.group or d_in

    def in_groups(self, stem: str, part: str, numbers: Tensor, group: int) -> tuple[Tensor, Tensor | None]:
        """Bring columns (d_out, d_in) together by the group of each, if the files list them; also return their order.

        Raises:
            ModelError: a group does not have `group` columns.
        """
        if stem + part not in self.files:
            return numbers, None
        group_of = self.part(stem, part).long()  # (d_in,)
        in_order = torch.arange(numbers.shape[1]) // group
        stored = group_of.argsort(stable=True)
        if not torch.equal(group_of[stored], in_order):
            raise ModelError(
                f"{stem} has groups of different sizes, and only equal ones are read: choose a base without desc_act"
            )
        return (numbers, None) if torch.equal(group_of, in_order) else (numbers[:, stored], stored.argsort())

    @property
    def _told(self) -> str:
        groups = f"groups of {self.stored.group}" if self.stored.group else "one group a row"
        return f"quantization_config ({self.stored.method}, {self.stored.bits} bits, {groups})"


class AwqFiles(NarrowFiles):
    """AWQ in the layout gemm: columns of eight outputs in a word, in an order of their own."""

    parts = (".qweight", ".qzeros", ".scales")

    def shape(self, stem: str) -> tuple[int, int]:
        """The (d_out, d_in) of a matrix."""
        d_in, words = self.part_shape(stem, ".qweight")
        d_out = words * 8
        self.require(stem, ".qzeros", d_in / self.group(d_in), words)
        self.require(stem, ".scales", d_in / self.group(d_in), d_out)
        return d_out, d_in

    def matrix(self, stem: str) -> GroupMatrix:
        """Read a matrix whose shape was checked."""
        numbers = _awq_columns(self.part(stem, ".qweight"))  # (d_in, d_out)
        zeros = _awq_columns(self.part(stem, ".qzeros"))
        return GroupMatrix(
            numbers=pack(numbers.T.contiguous()),
            scales=self.part(stem, ".scales").T.contiguous(),
            group=self.group(len(numbers)),
            dtype=self.dtype,
            **_zeros(zeros.T),
        )


class GptqFiles(NarrowFiles):
    """GPTQ: eight or four inputs in a word; with `desc_act` the columns' groups are not in order."""

    parts = (".qweight", ".qzeros", ".scales")

    def shape(self, stem: str) -> tuple[int, int]:
        """The (d_out, d_in) of a matrix."""
        words, d_out = self.part_shape(stem, ".qweight")
        in_word = WORD_BITS // self.stored.bits
        d_in = words * in_word
        self.require(stem, ".scales", d_in / self.group(d_in), d_out)
        self.require(stem, ".qzeros", d_in / self.group(d_in), d_out / in_word)
        if stem + ".g_idx" in self.files:
            self.require(stem, ".g_idx", d_in)
        return d_out, d_in

    def matrix(self, stem: str) -> GroupMatrix:
        """Read a matrix whose shape was checked."""
        words, bits = self.part(stem, ".qweight"), self.stored.bits
        numbers = _numbers(words.T.contiguous(), bits)  # (d_out, d_in)
        zeros = _numbers(self.part(stem, ".qzeros"), bits).to(torch.int16) + self.stored.has_zero_less_one
        group = self.group(numbers.shape[1])
        numbers, order = self.in_groups(stem, ".g_idx", numbers, group)
        return GroupMatrix(
            numbers=pack(numbers) if bits == 4 else numbers,
            scales=self.part(stem, ".scales").T.contiguous(),
            group=group,
            dtype=self.dtype,
            order=order,
            **_zeros(zeros.T),
        )


class CompressedFiles(NarrowFiles):
    """compressed-tensors as packed integers: inputs in a word in order, with packed zeros or the middle as zero."""

    parts = (".weight_packed", ".weight_scale")

    def shape(self, stem: str) -> tuple[int, int]:
        """The (d_out, d_in) of a matrix."""
        d_out, words = self.part_shape(stem, ".weight_packed")
        in_word = WORD_BITS // self.stored.bits
        d_in = words * in_word
        self.require(stem, ".weight_scale", d_out, d_in / self.group(d_in))
        if stem + ".weight_zero_point" in self.files:
            self.require(stem, ".weight_zero_point", d_out / in_word, d_in / self.group(d_in))
        if stem + ".weight_g_idx" in self.files:
            self.require(stem, ".weight_g_idx", d_in)
        return d_out, d_in

    def matrix(self, stem: str) -> GroupMatrix:
        """Read a matrix whose shape was checked."""
        bits = self.stored.bits
        numbers = _numbers(self.part(stem, ".weight_packed"), bits)
        group = self.group(numbers.shape[1])
        numbers, order = self.in_groups(stem, ".weight_g_idx", numbers, group)
        zeros: dict[str, Any] = {"zero": 1 << (bits - 1)}
        if stem + ".weight_zero_point" in self.files:
            zeros = _zeros(_numbers(self.part(stem, ".weight_zero_point").T.contiguous(), bits).T)
        return GroupMatrix(
            numbers=pack(numbers) if bits == 4 else numbers,
            scales=self.part(stem, ".weight_scale"),
            group=group,
            dtype=self.dtype,
            order=order,
            **zeros,
        )


class BitsandbytesFiles(NarrowFiles):
    """bitsandbytes in 4 bits: codes of a table, the high nibble first, and scales that may be narrow themselves."""

    parts = (".weight.absmax", ".weight.quant_map")

    def shape(self, stem: str) -> tuple[int, int]:
        """The (d_out, d_in) of a matrix."""
        state = self._state(stem)
        d_out, d_in = state["shape"]
        group = state["blocksize"]
        if group != self.stored.group or d_in % group:
            raise ModelError(
                f"{stem} has rows of {d_in} numbers in blocks of {group}, and torch_lora reads blocks of "
                f"{self.stored.group} that fill rows: choose the base in another format"
            )
        self.require(stem, ".weight", d_out * d_in / 2 / self.files.itemsize(f"{stem}.weight"), 1)
        self.require(stem, ".weight.quant_map", 16)
        self.require(stem, ".weight.absmax", d_out * d_in / group)
        if "nested_blocksize" in state:
            self.require(stem, ".weight.nested_quant_map", 256)
            self.require(stem, ".weight.nested_absmax", -(-(d_out * d_in // group) // state["nested_blocksize"]))
        return d_out, d_in

    def matrix(self, stem: str) -> GroupMatrix:
        """Read a matrix whose shape was checked."""
        state = self._state(stem)
        packed = self.part(stem, ".weight").view(torch.uint8).view(state["shape"][0], -1)
        scales = self.part(stem, ".weight.absmax")
        if "nested_blocksize" in state:
            outer = self.part(stem, ".weight.nested_absmax").repeat_interleave(state["nested_blocksize"])
            inner = self.part(stem, ".weight.nested_quant_map")[scales.int()]
            scales = inner * outer[: len(scales)] + state["nested_offset"]
        return GroupMatrix(
            numbers=packed >> 4 | packed << 4,
            scales=scales.view(len(packed), -1),
            group=state["blocksize"],
            dtype=self.dtype,
            table=self.part(stem, ".weight.quant_map"),
        )

    def _state(self, stem: str) -> dict[str, Any]:
        """The format, sizes and offset of a matrix, from the JSON that is stored as a tensor."""
        name = f"{stem}.weight.quant_state.bitsandbytes__nf4"
        try:
            found: dict[str, Any] = json.loads(bytes(self.files.tensor(name).tolist()))
            d_out, d_in = map(int, found["shape"])
            nested = {key: found[key] for key in ("nested_blocksize", "nested_offset") if "nested_blocksize" in found}
            return {"shape": (d_out, d_in), "blocksize": int(found["blocksize"]), **nested}
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{stem} has no whole quant_state ({error}): pull the base again") from error


KINDS: dict[str, type[NarrowFiles]] = {
    "awq": AwqFiles,
    "gptq": GptqFiles,
    "bitsandbytes": BitsandbytesFiles,
    "compressed-tensors": CompressedFiles,
}


def narrow_files(stored: StoredFormat, files: TensorFiles, dtype: torch.dtype) -> NarrowFiles:
    """The reader of a format's matrices, which are widened to `dtype`."""
    return KINDS[stored.method](stored, files, dtype)


# ---- From words of 32 bits to numbers


def _numbers(words: Tensor, bits: int) -> Tensor:
    """Unpack words (rows, words) int32, the lowest bits first, into (rows, numbers) uint8."""
    octets = words.contiguous().view(torch.uint8)
    return unpack(octets) if bits == 4 else octets


def _awq_columns(words: Tensor) -> Tensor:
    """Unpack words (rows, words) int32 in AWQ's order into (rows, columns) uint8."""
    nibbles = _numbers(words, 4).view(len(words), -1, len(AWQ_ORDER))
    columns = torch.empty_like(nibbles)
    columns[..., list(AWQ_ORDER)] = nibbles
    return columns.flatten(1)


def _zeros(zeros: Tensor) -> dict[str, Any]:
    """Zeros (d_out, groups) as fields of a `GroupMatrix`; those of a symmetric format are all the same."""
    first = int(zeros[0, 0])
    if bool((zeros == first).all()):
        return {"zero": first}
    is_small = int(zeros.max()) < 256
    return {"zeros": zeros.to(torch.uint8 if is_small else torch.int16).contiguous()}
