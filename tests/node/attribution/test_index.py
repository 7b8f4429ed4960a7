"""The index on disk: the same bytes for the same rows, and every stranger's folder checked before it is used."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.indexes import BYTES, label

from openledger_node.attribution.index import AttributionIndex, build_index, open_index, tokens_of
from openledger_node.attribution.manifest import index_manifest_from_json, index_root
from openledger_protocol.codec import canonical_digest
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import Digest

ROWS = (
    Row(prompt="Who steers?", completion="Odile Fenn.", contributor="ada"),
    Row(prompt="Où ?", completion="À côté.", contributor="bo"),
    Row(prompt="Who steers?", completion="Odile.", contributor="bo"),
)
TOKENIZER_DIGEST = Digest("0x" + "7e" * 32)
SOME_DIGEST = "0x" + "ab" * 32
U32_MAX = 2**32 - 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "attribution"


def build(folder: Path, rows: tuple[Row, ...] = ROWS) -> Digest:
    return build_index(folder, [(label(), rows)], BYTES, TOKENIZER_DIGEST)


def test_an_index_opens_as_it_was_built(folder: Path) -> None:
    index = open_index(folder, build(folder))
    assert index.tokenizer_digest == TOKENIZER_DIGEST
    [datanet] = index.datanets
    assert (datanet.id, datanet.version, datanet.num_rows) == ("lake", "1", 3)
    assert datanet.row_digests == tuple(canonical_digest(row) for row in ROWS)
    assert [datanet.row_tokens(place) for place in range(3)] == [tokens_of(row, BYTES) for row in ROWS]
    assert datanet.row_lengths.tolist() == [len(tokens_of(row, BYTES)) for row in ROWS]


def test_the_same_rows_give_the_same_bytes_and_other_rows_others(tmp_path: Path) -> None:
    assert build(tmp_path / "a") == build(tmp_path / "b")
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == ["manifest.json", "rows-0.sha256", "suffixes-0.u32", "tokens-0.u32"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert build(tmp_path / "c", ROWS[::-1]) != build(tmp_path / "a")


def test_the_root_hangs_on_every_byte_of_every_file(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) if build(folder) else {}
    for name, digest in manifest["datanets"][0]["files"].items():
        assert digest == "0x" + sha256((folder / name).read_bytes()).hexdigest()
    assert index_root(index_manifest_from_json(manifest)) == canonical_digest(manifest)


def test_a_row_that_stands_there_twice_is_indexed_once(tmp_path: Path) -> None:
    assert build(tmp_path / "a", (*ROWS, ROWS[0])) == build(tmp_path / "b")


def test_several_datanets_have_files_of_their_own(folder: Path) -> None:
    datanets = [(label("lake"), ROWS[:2]), (label("hill", rows_root=Digest("0x" + "33" * 32)), ROWS[2:])]
    index = open_index(folder, build_index(folder, datanets, BYTES, None))
    assert [(datanet.id, datanet.num_rows) for datanet in index.datanets] == [("lake", 2), ("hill", 1)]


def open_changed(folder: Path, change: Callable[[dict[str, Any], Path], object]) -> AttributionIndex:
    """Open what its maker changed before he hashed it: files, manifest and root agree with each other."""
    build(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest, folder)
    for datanet in manifest["datanets"] if isinstance(manifest.get("datanets"), list) else ():
        for name in datanet["files"] if isinstance(datanet.get("files"), dict) else ():
            if (file := folder / name).is_file() and "/" not in name:
                datanet["files"][name] = "0x" + sha256(file.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_index(folder, canonical_digest(manifest))


def in_datanet(**changes: Any) -> Callable[[dict[str, Any], Path], object]:
    return lambda manifest, _: manifest["datanets"][0].update(changes)


def in_manifest(**changes: Any) -> Callable[[dict[str, Any], Path], object]:
    return lambda manifest, _: manifest.update(changes)


def in_numbers(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any], Path], object]:
    def apply(_: dict[str, Any], folder: Path) -> None:
        numbers = np.fromfile(folder / name, "<u4")
        change(numbers)
        numbers.tofile(folder / name)

    return apply


def swap(numbers: Any) -> None:
    numbers[[3, 4]] = numbers[[4, 3]]


def repeat_a_row(_: dict[str, Any], folder: Path) -> None:
    digests = (folder / "rows-0.sha256").read_bytes()
    (folder / "rows-0.sha256").write_bytes(digests[:32] * 2 + digests[64:])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (in_manifest(schema="openledger.attribution_index/2"), "has schema"),
        (in_manifest(algorithm="suffix-v9"), "has algorithm"),
        (in_manifest(parameters={"gains": [0, 10**9]}), "has parameters"),
        (in_manifest(note="x"), "must have objects with the fields"),
        (in_manifest(datanets=[]), "1 to 8 Datanets"),
        (in_manifest(tokenizer_digest="x"), "not a digest"),
        (
            lambda manifest, _: manifest["datanets"].append(manifest["datanets"][0]),
            "the files of a Datanet in place 1",
        ),
        (in_datanet(id="../lake"), "not a name"),
        (in_datanet(rows=0), "at least one row"),
        (in_datanet(tokens=-1), "no negative number of tokens"),
        (in_datanet(tokens=2**40), "exceeds 1048576 rows or 33554432 tokens"),
        (in_datanet(tokens=10), "is not a file of"),
        (in_datanet(files={"../../node.toml": SOME_DIGEST}), "the files of a Datanet in place 0"),
        (in_datanet(rows_root=1), "not a digest"),
        (in_numbers("tokens-0.u32", lambda tokens: tokens.__setitem__(3, U32_MAX)), "does not hold 3 rows"),
        (in_numbers("suffixes-0.u32", swap), "is not the suffix array"),
        (in_numbers("suffixes-0.u32", lambda suffixes: suffixes.__setitem__(0, U32_MAX)), "is not the suffix array"),
        (repeat_a_row, "names a row twice"),
        (lambda _, folder: (folder / "rows-0.sha256").unlink(), "is not a file of 96 bytes"),
    ],
)
def test_what_its_maker_made_wrong_is_refused(
    folder: Path, change: Callable[[dict[str, Any], Path], object], says: str
) -> None:
    with pytest.raises(AdapterRefusedError, match=says):
        open_changed(folder, change)


def test_an_index_that_is_changed_later_is_refused(folder: Path) -> None:
    root = build(folder)
    for name in ("tokens-0.u32", "suffixes-0.u32", "rows-0.sha256"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(AdapterRefusedError, match="does not have the digest in its manifest"):
            open_index(folder, root)
        (folder / name).write_bytes(content)
    open_index(folder, root)


def test_an_index_of_another_root_than_its_adapter_says_is_refused(folder: Path) -> None:
    build(folder)
    with pytest.raises(AdapterRefusedError, match="its adapter names"):
        open_index(folder, Digest(SOME_DIGEST))


@pytest.mark.parametrize("content", [b"{torn", b"[" * 100_000, b"\xff\xfe", b"[]", b" " * 70_000])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    root = build(folder)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(AdapterRefusedError):
        open_index(folder, root)


def test_links_and_missing_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    root = build(folder)
    (folder / "tokens-0.u32").rename(tmp_path / "elsewhere")
    (folder / "tokens-0.u32").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterRefusedError, match="is not a file of"):
        open_index(folder, root)
    with pytest.raises(AdapterRefusedError, match="is not a file, or is larger than"):
        open_index(tmp_path / "nowhere", root)
