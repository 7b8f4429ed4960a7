"""Headers of GGUF files: torn, foreign, of the other byte order, split, or made to take memory."""

import random
import resource
import struct
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from support.gguf_models import write_gguf
from support.tiers import depth
from support.tiny import make_base

from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models.gguf_files.describe import describe_gguf, write_description
from openledger_node.models.gguf_files.header import read_header
from openledger_node.models.gguf_files.weights import open_weights

NUM_MUTATIONS = depth(light=200, deep=20_000)
MEMORY_BYTES = 1 << 30  # more than this, on top of what the test's process has, ends in MemoryError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    source = make_base(folder / "source", num_hidden_layers=1, hidden_size=64, intermediate_size=64, head_dim=16)
    types = [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F16]
    write_gguf(source, folder / "tiny.gguf", type_of=lambda name: types["embed" not in name])
    return (folder / "tiny.gguf").read_bytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def field(key: str, kind: int, value: bytes) -> bytes:
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def made(*fields: bytes, num_tensors: int = 0, num_fields: int | None = None, rest: bytes = b"") -> bytes:
    count = len(fields) if num_fields is None else num_fields
    return b"GGUF" + struct.pack("<IQQ", 3, num_tensors, count) + b"".join(fields) + rest


ARCHITECTURE = field("general.architecture", 8, text("llama"))


def with_tensor(shape: tuple[int, ...], *, kind: int = 0, offset: int = 0) -> bytes:
    entry = text("t") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return made(ARCHITECTURE, num_tensors=1, rest=entry)


BROKEN = {
    "empty": (b"", "cannot mmap an empty file|empty"),
    "another kind of file": (b"PK\3\4" + bytes(100), "does not begin with GGUF"),
    "the first version": (b"GGUF" + struct.pack("<III", 1, 0, 0), "version 1"),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 1), "the other byte order"),
    "two bytes": (b"GG", "header ends beyond the file"),
    "no fields": (made(), "general.architecture is None"),
    "a billion tensors": (made(ARCHITECTURE, num_tensors=1 << 30), "1073741824 tensors"),
    "2^63 fields": (made(ARCHITECTURE, num_fields=1 << 63), "9223372036854775808 fields"),
    "a text of 2^62 bytes": (made(field("a", 8, struct.pack("<Q", 1 << 62))), "a text of 4611686018427387904 bytes"),
    "a list of 2^40 texts": (made(field("a", 9, struct.pack("<IQ", 8, 1 << 40))), "a list of 1099511627776 values"),
    "a list of 2^20 texts": (made(field("a", 9, struct.pack("<IQ", 8, 1 << 20))), "header ends beyond the file"),
    "a list of lists": (made(field("a", 9, struct.pack("<IQ", 9, 1))), "a value of the unknown type 9"),
    "a value of no type": (made(field("a", 99, bytes(8))), "a value of the unknown type 99"),
    "a field twice": (made(ARCHITECTURE, ARCHITECTURE), "a name occurs twice"),
    "a part of three": (made(ARCHITECTURE, field("split.count", 2, struct.pack("<H", 3))), "one of 3 parts.*--merge"),
    "an adapter": (made(ARCHITECTURE, field("general.type", 8, text("adapter"))), "holds no language model but"),
    "an architecture of a number": (
        made(field("general.architecture", 4, bytes(4))),
        "architecture is 0, not a text",
    ),
    "an alignment of 3": (made(ARCHITECTURE, field("general.alignment", 4, struct.pack("<I", 3))), "alignment 3"),
    "a tensor of five dimensions": (with_tensor((1,) * 5), "'t' has 5 dimensions"),
    "a tensor of no dimensions": (with_tensor(()), "'t' has 0 dimensions"),
    "a tensor of 2^120 numbers": (with_tensor((1 << 60, 1 << 60)), "'t' ends beyond the file"),
    "a tensor that begins beyond the end": (with_tensor((1,), offset=1 << 63), "'t' ends beyond the file"),
    "a tensor of no type": (with_tensor((1,), kind=77), "the unknown type 77"),
    "a row that is no whole block": (with_tensor((33,), kind=2), r"'t' has the shape \(33,\), in blocks of 32"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_what_is_wrong_with_it(home: Home, file: Path, case: str) -> None:
    content, reason = BROKEN[case]
    file.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        describe_gguf(home, file)
    assert not home.models.exists() or not list(home.models.iterdir())


def test_a_header_has_what_the_librarys_reader_finds(whole: bytes, file: Path) -> None:
    file.write_bytes(whole)
    ours, theirs = read_header(file), gguf.GGUFReader(file)
    assert list(ours.tensors) == [each.name for each in theirs.tensors]
    for each in theirs.tensors:
        found = ours.tensors[each.name]
        assert (found.type, found.offset, found.size_bytes) == (each.tensor_type, each.data_offset, each.n_bytes)
        assert found.shape == tuple(each.shape[::-1].tolist())
    for name, each in theirs.fields.items():
        if not name.startswith("GGUF."):
            found = ours.fields[name]
            assert (found.tolist() if isinstance(found, np.ndarray) else found) == each.contents()


@pytest.mark.parametrize("share", [0.01, 0.6, 0.999])
def test_a_torn_file_is_refused(home: Home, whole: bytes, file: Path, share: float) -> None:
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match="beyond the file"):
        describe_gguf(home, file)


def test_mutated_headers_are_refused_or_read_and_never_take_memory(whole: bytes, file: Path, tmp_path: Path) -> None:
    draw = random.Random(0)
    last = whole.rindex(b"blk.0.") + 60  # the last tensor's entry: what is before it is header
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    began_s = time.perf_counter()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    outcomes = {"read": 0, "refused": 0}
    try:
        for number in range(NUM_MUTATIONS):
            file.write_bytes(mutated(whole, last, draw))
            outcomes["read" if survives(file, tmp_path / str(number)) else "refused"] += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert min(outcomes.values()) > NUM_MUTATIONS // 20  # it tests both
    assert time.perf_counter() - began_s < 0.5 * NUM_MUTATIONS


def mutated(content: bytes, last: int, draw: random.Random) -> bytes:
    """Some bytes of the header changed: single ones, or eight in a row to a number that is at a limit."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        # half of the places in the first fields and in the tensors' entries, since vocabularies are long
        at = draw.choice((draw.randrange(last), draw.randrange(700), draw.randrange(last - 900, last)))
        if draw.random() < 0.5:
            changed[at] = draw.randrange(256)
        else:
            limit = draw.choice((0, 1, 255, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1, (1 << 64) - 1))
            changed[at : at + 8] = struct.pack("<Q", limit)
    return bytes(changed)


def survives(file: Path, folder: Path) -> bool:
    """Whether a file can be described and read; any error but ModelError fails the test."""
    folder.mkdir()
    try:
        write_description(file, folder)
        weights = open_weights(file)
        for name in weights:
            weights.floats(name)
    except ModelError:
        return False
    return True
