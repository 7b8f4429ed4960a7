"""The narrow matrices of the backend torch_lora, and the readers of base files that make them.

An adapter is trained above the very numbers that torch_lora and cuda serve, so this is the one place where a trainer
imports from a backend.
"""

from ...backends.torch_lora.checkpoint import Reader
from ...backends.torch_lora.group_matrix import GroupMatrix, row_pieces
from ...backends.torch_lora.matrices import look_up, product
from ...backends.torch_lora.quantised import OUTER
from ...backends.torch_lora.weights import checked_reader, narrowed, prefix_in, whole_files

__all__ = [
    "OUTER",
    "GroupMatrix",
    "Reader",
    "checked_reader",
    "look_up",
    "narrowed",
    "prefix_in",
    "product",
    "row_pieces",
    "whole_files",
]
