"""The Python interface of the compiled step: its structures, and its functions with their types."""

import ctypes
from ctypes import POINTER, c_double, c_float, c_int32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

from ...text import size_text

SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear maps of a layer, in the order of the step's table."""

SITE = np.dtype([("a", "u8"), ("b", "u8"), ("scale", "u8"), ("rank", "i4"), ("even", "i4")])
"""One linear map of an adapter: the addresses of its matrices, and its rank (0: the map is unchanged)."""

SEGMENT = np.dtype(
    [
        ("first", "i4"),
        ("count", "i4"),
        ("position", "i4"),
        ("wanted", "i4"),
        ("blocks", "u8"),
        ("sites", "u8"),
        ("taps", "u8"),
        ("tap", "u8"),
    ]
)
"""Tokens of one sequence, next to each other in the batch."""


NO_CACHE = 1
"""The status of `ol_open` if there is no room for keys and values; 0 is success, others are other failures."""


class Linear(ctypes.Structure):
    """A linear map in product layout."""

    _fields_ = (("w", c_void_p), ("bias", c_void_p), ("k", c_int32), ("tiles", c_int32))


class Layer(ctypes.Structure):
    """One decoder layer."""

    _fields_ = (
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("qkv", Linear),
        ("o", Linear),
        ("gate_up", Linear),
        ("down", Linear),
    )


class Base(ctypes.Structure):
    """The whole base, and the sizes of its cache."""

    _fields_ = (
        ("vocab", c_int32),
        ("d_model", c_int32),
        ("d_mlp", c_int32),
        ("layers", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("context", c_int32),
        ("blocks", c_int32),
        ("norm_eps", c_float),
        ("rope_scale", c_float),
        ("frequencies", c_void_p),
        ("embedding", c_void_p),
        ("final_norm", c_void_p),
        ("head", Linear),
        ("layer", POINTER(Layer)),
    )


class Step(ctypes.Structure):
    """One ragged batch, and the addresses of its results."""

    _fields_ = (
        ("rows", c_int32),
        ("segments", c_int32),
        ("wanted", c_int32),
        ("kept", c_int32),
        ("rank_max", c_int32),
        ("ids", c_void_p),
        ("segment", c_void_p),
        ("logits", c_void_p),
        ("token", c_void_p),
    )


SIZES = {
    "Linear": ctypes.sizeof(Linear),
    "Layer": ctypes.sizeof(Layer),
    "Base": ctypes.sizeof(Base),
    "Site": SITE.itemsize,
    "Segment": SEGMENT.itemsize,
    "Step": ctypes.sizeof(Step),
}
"""Bytes of each structure, in the order of `ol_abi`."""


class AbiError(Exception):
    """The shared object has other structures than this module."""


class UnopenedError(Exception):
    """The step can't be opened here, for lack of threads or memory."""


class Library:
    """The shared object.

    Raises:
        OSError: the file is no shared object.
        AbiError: it was made from another abi.h.
    """

    def __init__(self, file: Path) -> None:
        functions = ctypes.CDLL(str(file))
        _check_sizes(functions)
        self._open = functions.ol_open
        self._open.argtypes, self._open.restype = (POINTER(Base), c_int32, POINTER(c_void_p)), c_int32
        self.has_tiles = functions.ol_has_tiles
        self.has_tiles.argtypes, self.has_tiles.restype = (c_void_p,), c_int32
        self.close = functions.ol_close
        self.close.argtypes, self.close.restype = (c_void_p,), None
        self.step = functions.ol_step
        self.step.argtypes, self.step.restype = (c_void_p, POINTER(Step)), c_int32
        self.largest = functions.ol_largest
        self.largest.argtypes = (c_void_p, c_int32, c_int32, c_void_p, c_void_p)
        self.largest.restype = None
        self.reserve = functions.ol_reserve
        self.reserve.argtypes, self.reserve.restype = (c_uint64,), c_void_p
        self.release = functions.ol_release
        self.release.argtypes, self.release.restype = (c_void_p, c_uint64), None
        self.product = functions.ol_product  # for tests
        self.product.argtypes = (c_void_p, c_int32, c_int32, POINTER(Linear), c_int32, c_void_p)
        self.product.restype = c_int32
        self.multiply_rate = functions.ol_multiply_rate
        self.multiply_rate.argtypes, self.multiply_rate.restype = (c_int32,), c_double
        self.read_bandwidth = functions.ol_read_bandwidth
        self.read_bandwidth.argtypes, self.read_bandwidth.restype = (c_int32, c_uint64), c_double

    def open(self, base: Base, threads: int) -> int:
        """Open an engine over a base, which must not move, and return the engine's address.

        Raises:
            MemoryError: there is no room for the KV cache.
            UnopenedError: anything else is lacking.
        """
        engine = c_void_p()
        status = self._open(ctypes.byref(base), threads, ctypes.byref(engine))
        if status == NO_CACHE:
            raise MemoryError("no room for the KV cache")
        if engine.value is None:
            raise UnopenedError(f"the system gives it no {threads} threads, or no memory")
        return engine.value


def _check_sizes(functions: ctypes.CDLL) -> None:
    functions.ol_abi.argtypes, functions.ol_abi.restype = (), POINTER(c_int32)
    for (name, here), there in zip(SIZES.items(), functions.ol_abi()[: len(SIZES)], strict=True):
        if here != there:
            raise AbiError(
                f"error: {name} takes {there} bytes in the compiled step and {here} in library.py: change abi.h and "
                "library.py together"
            )


class Region:
    """Zeroed memory on huge pages, freed with its last user."""

    def __init__(self, library: Library, size_bytes: int) -> None:
        self._library = library
        self.size_bytes = size_bytes
        self.address: int | None = library.reserve(size_bytes)
        if self.address is None:
            raise MemoryError(f"no {size_text(size_bytes)} of memory to reserve")

    def view(self) -> memoryview:
        """A writable view of the whole region."""
        assert self.address is not None, "it is open"
        numbers = (ctypes.c_uint8 * self.size_bytes).from_address(self.address)
        numbers.region = self  # type: ignore[attr-defined]  # the view keeps the memory alive
        return memoryview(numbers).cast("B")

    def __del__(self) -> None:
        if getattr(self, "address", None) is not None:
            self._library.release(self.address, self.size_bytes)
