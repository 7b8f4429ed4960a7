"""The shelf: what is put on it, what a name means there, and that one bad folder takes nothing else down."""

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.peft_folders import CONFIG_FILE, WEIGHTS_FILE, write_adapter, write_manifest

from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models.adapters import MANIFEST_FILE, Adapter, add_adapter, find_adapter, resolve_model
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import AdapterLibrary, list_adapters, remove_adapter
from openledger_protocol.adapter import adapter_id
from openledger_protocol.codec import to_plain
from openledger_protocol.errors import AdapterRefusedError, MalformedError, ProtocolError, UnknownModelError
from openledger_protocol.primitives import Digest

MakeFolder = Callable[..., Path]
ZERO, ONE, TWO = (Digest("0x" + digit * 64) for digit in "012")
OTHER_BASE = replace(FAKE_BASE, name="other", digest=ZERO, tokenizer_digest=ONE, chat_template_digest=TWO)


def shelf(home: Home) -> dict[str, bytes]:
    """Every file on the shelf, whatever it is."""
    files = [file for file in home.adapters.rglob("*") if file.is_file()] if home.adapters.exists() else []
    return {str(file.relative_to(home.adapters)): file.read_bytes() for file in files}


def test_a_plain_folder_gets_a_manifest_that_says_what_is_known(home: Home, make_adapter_folder: MakeFolder) -> None:
    source = make_adapter_folder("harbour")
    adapter = add_adapter(home, source, OTHER_BASE)
    assert adapter.name == "harbour"
    assert adapter.full_name == f"harbour@{adapter.id[2:10]}"
    assert adapter.folder == home.adapters / adapter.full_name
    assert to_plain(adapter.manifest.base) == {"name": "other", "digest": OTHER_BASE.digest}
    assert adapter.manifest.tokenizer_digest == OTHER_BASE.tokenizer_digest
    assert adapter.manifest.chat_template_digest == OTHER_BASE.chat_template_digest
    assert adapter.id == adapter_id(adapter.manifest)
    assert list_adapters(home) == [adapter]


def test_only_what_is_known_of_an_adapter_is_copied(home: Home, make_adapter_folder: MakeFolder) -> None:
    source = make_adapter_folder()
    for stray in ("optimizer.pt", "README.md", "evil.py"):
        (source / stray).write_text("x")
    (source / "attribution").mkdir()
    (source / "attribution" / "index.bin").write_text("spans")
    adapter = add_adapter(home, source, FAKE_BASE)
    expected = {CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE, "attribution/index.bin"}
    assert set(shelf(home)) == {f"{adapter.full_name}/{name}" for name in expected}


def test_a_link_in_a_strangers_folder_copies_nothing_of_this_machine(
    home: Home, make_adapter_folder: MakeFolder, tmp_path: Path
) -> None:
    # A copy that followed `attribution/x → ~/.ssh/id_ed25519` would hand the key on with the adapter.
    secret = tmp_path / "id_ed25519"
    secret.write_text("a secret of this machine")
    source = make_adapter_folder()
    (source / "attribution").mkdir()
    (source / "attribution" / "index.bin").symlink_to(secret)
    with contextlib.suppress(AdapterRefusedError):
        add_adapter(home, source, FAKE_BASE)
    assert not any(b"a secret of this machine" in content for content in shelf(home).values())


def test_adding_twice_changes_nothing(home: Home, make_adapter_folder: MakeFolder) -> None:
    source = make_adapter_folder()
    first = add_adapter(home, source, FAKE_BASE)
    before = shelf(home)
    assert add_adapter(home, source, FAKE_BASE) == first
    assert add_adapter(home, first.folder, FAKE_BASE) == first
    assert shelf(home) == before


@pytest.mark.parametrize(
    "changes", [{"lora_alpha": 8}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 1}}], ids=str
)
def test_the_same_weights_scaled_otherwise_are_another_adapter(
    home: Home, make_adapter_folder: MakeFolder, changes: dict[str, Any]
) -> None:
    # With one id for both, a node could serve, and be paid for, another alpha under an honest adapter's id.
    first = add_adapter(home, make_adapter_folder("harbour"), FAKE_BASE)
    second = add_adapter(home, make_adapter_folder("harbour", **changes), FAKE_BASE)
    assert first.id != second.id


@pytest.mark.parametrize("name", ["fake:harbour", "harbour@1", "a b", "..", "[red]"])
def test_a_name_that_is_none_is_refused(home: Home, make_adapter_folder: MakeFolder, name: str) -> None:
    with pytest.raises(MalformedError, match="not a name"):
        add_adapter(home, make_adapter_folder(), FAKE_BASE, name=name)
    assert shelf(home) == {}


def test_a_manifest_of_its_own_is_kept_to_the_letter_and_its_name_with_it(
    home: Home, make_adapter_folder: MakeFolder
) -> None:
    source = write_manifest(make_adapter_folder("folder"), license="Apache-2.0", training={"seed": 7})
    adapter = add_adapter(home, source, FAKE_BASE)
    assert (adapter.name, adapter.manifest.license) == ("harbour", "Apache-2.0")
    assert adapter.manifest.training == {"seed": 7}
    assert add_adapter(home, source, FAKE_BASE, name="harbour") == adapter
    with pytest.raises(ModelError, match="called 'harbour': its name is part of its id"):
        add_adapter(home, source, FAKE_BASE, name="mine")


@pytest.mark.parametrize(
    "training",
    [{"\ud800": 1}, {"x": "\ud800"}, {"x": float("nan")}, {"x": 2**60}],
    ids=["key", "text", "NaN", "2^60"],
)
def test_a_manifest_that_has_no_canonical_form_is_refused(
    home: Home, make_adapter_folder: MakeFolder, training: dict[str, Any]
) -> None:
    source = write_manifest(make_adapter_folder(), training=training)
    with pytest.raises(ProtocolError):
        add_adapter(home, source, FAKE_BASE)
    assert shelf(home) == {}


def test_a_place_on_the_shelf_that_another_adapter_has_is_told(home: Home, make_adapter_folder: MakeFolder) -> None:
    # Eight hex digits can be ground out in hours, so a stranger could lay an adapter where a well-known one will be
    # looked for.
    wanted = add_adapter(home, make_adapter_folder("harbour"), FAKE_BASE)
    other = add_adapter(home, make_adapter_folder("harbour", seed=1), FAKE_BASE)
    shutil.rmtree(wanted.folder)
    other.folder.rename(wanted.folder)
    with pytest.raises((AdapterRefusedError, ModelError), match=re.escape(wanted.full_name)):
        add_adapter(home, make_adapter_folder("harbour"), FAKE_BASE)


def test_a_copy_that_was_cut_off_is_made_anew(home: Home, make_adapter_folder: MakeFolder) -> None:
    source = make_adapter_folder()
    adapter = add_adapter(home, source, FAKE_BASE)
    shelf_before = shelf(home)
    torn = home.adapters / f".{adapter.full_name}.partial"
    adapter.folder.rename(torn)
    (torn / WEIGHTS_FILE).write_bytes(b"half")
    assert add_adapter(home, source, FAKE_BASE) == adapter
    assert shelf(home) == shelf_before


def torn_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:100])


def manifest_with(**changes: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        content = json.loads((folder / MANIFEST_FILE).read_text())
        (folder / MANIFEST_FILE).write_text(json.dumps({**content, **changes}))

    return change


TORN: dict[str, Callable[[Path], Any]] = {
    "torn weights": torn_weights,
    "no config": lambda folder: (folder / CONFIG_FILE).unlink(),
    "not served by this version": lambda folder: write_adapter(folder, use_dora=True),
    "empty manifest": lambda folder: (folder / MANIFEST_FILE).write_bytes(b""),
    "manifest of a newer version": manifest_with(schema="openledger.adapter/2"),
    "manifest without canonical form": manifest_with(training={"\ud800": 1}),
}


@pytest.mark.parametrize("tear", TORN.values(), ids=TORN.keys())
def test_one_bad_folder_hides_itself_and_nothing_else(
    home: Home, make_adapter_folder: MakeFolder, tear: Callable[[Path], Any]
) -> None:
    good = add_adapter(home, make_adapter_folder("good"), FAKE_BASE)
    tear(add_adapter(home, make_adapter_folder("bad", seed=1), FAKE_BASE).folder)
    assert list_adapters(home) == [good]


@pytest.fixture
def three(home: Home, make_adapter_folder: MakeFolder) -> list[Adapter]:
    """Two adapters called harbour, and one called as the base is."""
    for name, seed in (("harbour", 0), ("harbour", 1), ("fake", 2)):
        add_adapter(home, make_adapter_folder(name, seed=seed), FAKE_BASE)
    return list_adapters(home)


def test_an_ambiguous_name_is_refused_and_all_that_it_could_mean_are_named(three: list[Adapter]) -> None:
    with pytest.raises(UnknownModelError, match="means several adapters here") as refusal:
        find_adapter(three, "harbour")
    _, first, second = (adapter.full_name for adapter in three)
    assert first in str(refusal.value)
    assert second in str(refusal.value)


def test_a_model_is_the_base_an_adapter_or_both_joined_by_a_colon(three: list[Adapter]) -> None:
    called_fake, harbour, _ = three
    assert [find_adapter(three, adapter.full_name) for adapter in three] == three
    assert resolve_model(FAKE_BASE, partial(find_adapter, three), "fake") is None
    assert resolve_model(FAKE_BASE, partial(find_adapter, three), harbour.full_name) == harbour
    assert resolve_model(FAKE_BASE, partial(find_adapter, three), f"fake:{harbour.full_name}") == harbour
    assert resolve_model(FAKE_BASE, partial(find_adapter, three), "fake:fake") == called_fake


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("other:harbour", "base 'other' is not served here, 'fake' is"),
        ("fake:", "no adapter ''"),
        ("fake:harbour", "means several"),
        ("fake:fake:fake", "no adapter 'fake:fake'"),
        ("gpt-4o", "no adapter 'gpt-4o'"),
    ],
)
def test_a_model_that_is_not_here_is_refused(three: list[Adapter], model: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        resolve_model(FAKE_BASE, partial(find_adapter, three), model)


def test_removing_takes_one_adapter_off_the_shelf(home: Home, three: list[Adapter]) -> None:
    assert remove_adapter(home, three[1].full_name) == three[1]
    assert list_adapters(home) == [three[0], three[2]]
    with pytest.raises(UnknownModelError):
        remove_adapter(home, three[1].full_name)


def test_a_reader_of_the_shelf_sees_what_comes_changes_and_goes(home: Home, make_adapter_folder: MakeFolder) -> None:
    reader = AdapterLibrary(home)
    assert (reader.read().adapters, reader.named("first")) == ([], [])
    first = add_adapter(home, make_adapter_folder("first"), FAKE_BASE)
    second = add_adapter(home, make_adapter_folder("second", seed=1), FAKE_BASE)
    assert reader.read().adapters == [first, second]
    assert reader.read().adapters[0] is reader.read().adapters[0], "a folder that has not changed is not parsed again"
    assert reader.named("first") == reader.named(first.full_name) == [first]
    assert reader.with_id(first.id) == first
    torn_weights(first.folder)
    assert reader.read().adapters == [second]
    assert (reader.named("first"), reader.with_id(first.id)) == ([], None)
    shutil.rmtree(first.folder)
    again = add_adapter(home, make_adapter_folder("first"), FAKE_BASE)
    assert reader.named("first") == [again]
    for name in ("first", "second"):
        remove_adapter(home, name)
    assert (reader.read().adapters, reader.named("first")) == ([], [])


def test_a_reader_bears_adapters_that_come_and_go_while_it_looks(home: Home, make_adapter_folder: MakeFolder) -> None:
    stays = add_adapter(home, make_adapter_folder("stays"), FAKE_BASE)
    source, reader, is_over = make_adapter_folder("comes-and-goes", seed=1), AdapterLibrary(home), threading.Event()

    def come_and_go() -> None:
        for _ in range(60):
            add_adapter(home, source, FAKE_BASE)
            remove_adapter(home, "comes-and-goes")
        is_over.set()

    other = threading.Thread(target=come_and_go)
    other.start()
    while not is_over.is_set():
        assert stays in reader.read().adapters
    other.join()
    assert reader.read().adapters == [stays]
