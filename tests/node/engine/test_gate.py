"""Adapter files of strangers: each hostile one is refused by name, quickly, in little memory, and is not run."""

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node.engine.hostile_folders import HOSTILE, A, B, header
from safetensors import SafetensorError, safe_open
from support.peft_folders import CONFIG_FILE, WEIGHTS_FILE, write_adapter, write_config, write_manifest
from support.tiers import depth

from openledger_node.engine import load_gate as gate_module
from openledger_node.engine.load_gate import FILE_BYTES_PER_SERVED_MAX, LoadGate
from openledger_node.home import Home
from openledger_node.models.adapter_files.header import HEADER_BYTES_MAX
from openledger_node.models.adapter_files.layout import read_layout
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.adapters import CHECKED_FOLDER, MANIFEST_FILE, add_adapter, artifact_digest
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import remove_adapter
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId, Digest

TABLE_S_MAX = 60.0
"""For the whole table, on a machine that does other work as well: it needs three."""

TABLE_IN_LITTLE_MEMORY = """
import resource, sys, tempfile
from pathlib import Path
import numpy
from node.engine.hostile_folders import HOSTILE, MILLIONS_OF_LISTS
from openledger_node.home import Home
from openledger_node.models.adapters import add_adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_protocol.errors import AdapterRefusedError

taken = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (taken + (256 << 20),) * 2)
count = 0
for write in (MILLIONS_OF_LISTS, *(write for write, _ in HOSTILE.values())):
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / "harbour")
        try:
            add_adapter(Home(Path(place) / "home"), Path(place) / "harbour", FAKE_BASE)
        except AdapterRefusedError:
            count += 1
print(count)
"""


@pytest.mark.parametrize(("write", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_folder_is_refused_by_name(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, message: str
) -> None:
    folder = tmp_path / "harbour"
    monkeypatch.chdir(tmp_path)
    write(folder)
    pattern = message if "|" in message else re.escape(message)
    with pytest.raises(AdapterRefusedError, match=pattern) as refusal:
        add_adapter(home, folder, FAKE_BASE)
    text = str(refusal.value)
    assert len(text) < 700, "a stranger's text is quoted in part only"
    assert text.isprintable(), "a terminal obeys nothing of it"
    assert not (tmp_path / "was-unpickled").exists()
    assert not home.adapters.exists() or not list(home.adapters.iterdir()), "nothing stays behind"


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by Linux's own limit")
def test_the_whole_table_is_refused_in_little_time_and_memory(tmp_path: Path) -> None:
    started_s = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-c", TABLE_IN_LITTLE_MEMORY],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert child.stdout.strip() == str(1 + len(HOSTILE)), child.stderr[-2000:]
    assert time.monotonic() - started_s < TABLE_S_MAX
    assert not list(tmp_path.iterdir()), "no trap was sprung"


# ── between the gate and the device ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shelved(home: Home, tmp_path: Path) -> AdapterSource:
    adapter = add_adapter(home, write_adapter(tmp_path / "harbour"), FAKE_BASE)
    return AdapterSource(id=adapter.id, folder=str(adapter.folder))


def load(gate: LoadGate, source: AdapterSource) -> None:
    with gate.watch(source):
        pass


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE])
@pytest.mark.parametrize("was_loaded_before", [False, True])
def test_files_that_were_changed_on_the_shelf_are_not_loaded(
    shelved: AdapterSource, name: str, was_loaded_before: bool
) -> None:
    gate = LoadGate(FAKE_BASE.digest)
    if was_loaded_before:
        load(gate, shelved)
    file = Path(shelved.folder) / name
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    with pytest.raises(AdapterRefusedError, match="their manifest says"):
        load(gate, shelved)


def test_files_are_hashed_once_and_the_next_start_knows_them(
    home: Home, shelved: AdapterSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(
        gate_module, "artifact_digest", lambda folder: hashed.append(folder) or artifact_digest(folder)
    )
    folder = Path(shelved.folder)
    load(LoadGate(FAKE_BASE.digest, home.cache), shelved)
    assert hashed == [], "it was when it was added"
    os.utime(folder / WEIGHTS_FILE)
    gate = LoadGate(FAKE_BASE.digest, home.cache)
    load(gate, shelved)
    load(gate, shelved)
    load(LoadGate(FAKE_BASE.digest, home.cache), shelved)
    assert hashed == [folder]
    (kept,) = (home.cache / CHECKED_FOLDER).iterdir()
    kept.write_text("torn")
    load(LoadGate(FAKE_BASE.digest, home.cache), shelved)
    assert hashed == [folder] * 2
    remove_adapter(home, folder.name)
    assert not list((home.cache / CHECKED_FOLDER).iterdir())


def test_a_file_that_could_never_be_served_is_refused_before_it_is_read(
    shelved: AdapterSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = LoadGate(FAKE_BASE.digest, budget_bytes=1000)
    load(gate, shelved)
    os.truncate(Path(shelved.folder) / WEIGHTS_FILE, HEADER_BYTES_MAX + 1000 * FILE_BYTES_PER_SERVED_MAX + 1)
    monkeypatch.setattr(gate_module, "artifact_digest", lambda _: pytest.fail("it was read"))
    with pytest.raises(AdapterRefusedError, match="adapter_cache_bytes"):
        load(gate, shelved)


def test_files_are_loaded_also_where_nothing_can_be_kept_of_it(shelved: AdapterSource, tmp_path: Path) -> None:
    (tmp_path / CHECKED_FOLDER).write_text("in the place of the folder, as a full disk would have it")
    load(LoadGate(FAKE_BASE.digest, tmp_path), shelved)


@pytest.mark.parametrize("is_removed", [False, True])
def test_files_that_change_or_leave_while_they_are_read_are_not_loaded(
    shelved: AdapterSource, is_removed: bool
) -> None:
    folder, gate = Path(shelved.folder), LoadGate(FAKE_BASE.digest)
    with pytest.raises(AdapterRefusedError, match="changed while they were read"), gate.watch(shelved):
        (folder / WEIGHTS_FILE).rename(folder / "elsewhere") if is_removed else write_adapter(folder, seed=5)


@pytest.mark.parametrize(
    ("base_digest", "id", "refusal"),
    [(FAKE_BASE.digest, "0x" + "a" * 64, "which was requested"), ("0x" + "0" * 64, "", "not the one that is served")],
)
def test_an_adapter_of_another_base_or_id_is_not_loaded(
    shelved: AdapterSource, base_digest: str, id: str, refusal: str
) -> None:
    with pytest.raises(AdapterRefusedError, match=refusal):
        load(LoadGate(Digest(base_digest)), replace(shelved, id=AdapterId(id or shelved.id)))


def test_a_manifest_that_lies_about_the_tokenizer_is_refused(home: Home, tmp_path: Path) -> None:
    base = replace(FAKE_BASE, tokenizer_digest=Digest("0x" + "1" * 64))
    folder = write_manifest(write_adapter(tmp_path / "harbour"), tokenizer_digest="0x" + "2" * 64)
    with pytest.raises(AdapterRefusedError, match="another tokenizer"):
        add_adapter(home, folder, base)
    (folder / MANIFEST_FILE).unlink()
    add_adapter(home, folder, base)


# ── fuzz ──────────────────────────────────────────────────────────────────────────────────────────────────────────


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


ENTRIES = JSON | st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "BF16"]) | JSON, "shape": JSON, "data_offsets": JSON}
)


@settings(max_examples=depth(light=40, deep=2_000))
@given(content=st.dictionaries(st.sampled_from([A, B, "__metadata__", "x"]), ENTRIES))
def test_whatever_json_is_the_header_the_only_error_is_a_refusal(content: dict[str, Any]) -> None:
    with TemporaryDirectory() as name, contextlib.suppress(AdapterRefusedError):
        header(content)(Path(name))
        read_layout(Path(name))


SETTINGS = ["r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "peft_type", "bias"]


@settings(max_examples=depth(light=40, deep=2_000))
@given(changes=st.dictionaries(st.sampled_from(SETTINGS), JSON))
def test_whatever_json_is_the_config_the_only_error_is_a_refusal(changes: dict[str, Any]) -> None:
    with TemporaryDirectory() as name, contextlib.suppress(AdapterRefusedError):
        read_layout(write_adapter(Path(name), **changes))


def sound_bytes() -> bytes:
    with TemporaryDirectory() as name:
        return (write_adapter(Path(name)) / WEIGHTS_FILE).read_bytes()


SOUND = sound_bytes()
HEADER_END = 8 + int.from_bytes(SOUND[:8], "little")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound file of which some bits are turned, parts are cut out or replaced, and the end is cut off."""
    content = bytearray(SOUND)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, min(len(content), HEADER_END) - 1)))
        if draw(st.booleans()) and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        else:
            content[place : place + draw(st.integers(0, 40))] = draw(st.binary(max_size=8))
    del content[len(content) - draw(st.just(0) | st.integers(0, len(content))) :]
    if draw(st.booleans()) and len(content) > 8:  # so that what was changed behind it is looked at
        content[:8] = (len(content) - 8 - 80).to_bytes(8, "little", signed=True)
    return bytes(content)


@given(content=mutated())
def test_a_mutated_file_is_refused_or_sound_by_the_library_as_well(content: bytes) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_config(folder)
        (folder / WEIGHTS_FILE).write_bytes(content)
        try:
            layout = read_layout(folder)
        except AdapterRefusedError:
            return
        try:
            with safe_open(folder / WEIGHTS_FILE, framework="np") as file:
                shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            pytest.fail(f"we take what safetensors refuses: {error}")
        for site in layout.sites:
            assert (shapes[site.key_a], shapes[site.key_b]) == ([site.rank, site.d_in], [site.d_out, site.rank])
