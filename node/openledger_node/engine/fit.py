"""Checks whether a sequence can run here at all, and whether an error means that memory is exhausted."""

from collections.abc import Sequence as Items

from openledger_protocol.errors import AdapterRefusedError, RequestTooLongError

from .backend import BLOCK_TOKENS, Profile
from .blocks import blocks_for


def check_fits(prompt_ids: Items[int], max_tokens: int, profile: Profile) -> None:
    """Require that a sequence could run if it had the engine to itself.

    Raises:
        AdapterRefusedError: its prompt was tokenised for another base.
        RequestTooLongError: it may need more KV cache than there is.
    """
    if max(prompt_ids) >= profile.vocab_size:
        raise AdapterRefusedError(
            "the prompt has a token that the base does not: its tokenizer belongs to another base"
        )
    num_tokens = len(prompt_ids) + max_tokens - 1  # the last token is drawn but never run
    if profile.num_blocks and blocks_for(num_tokens) > profile.num_blocks:
        raise RequestTooLongError(
            f"prompt and answer may take {blocks_for(num_tokens)} blocks of {BLOCK_TOKENS} tokens, the KV cache has "
            f"{profile.num_blocks}: ask for a shorter answer, or raise [inference] kv_cache_bytes"
        )


OUT_OF_MEMORY_CLASSES = {"MemoryError", "OutOfMemoryError"}

OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
"""Of the CUDA and HIP runtimes and MPS, of torch on the CPU, and of cuBLAS and cuDNN: all raise a RuntimeError."""


def is_out_of_memory(error: Exception) -> bool:
    """Return True for an out-of-memory error of any library; compare names, so that no library is imported."""
    if OUT_OF_MEMORY_CLASSES & {cls.__name__ for cls in type(error).__mro__}:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY_WORDS)
