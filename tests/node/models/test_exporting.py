"""Adapters for other programs: what PEFT and llama.cpp make of the files is what the adapter answers here."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from peft import PeftModel
from safetensors.torch import load_file, save_file
from support.tiny import make_adapter, make_base
from support.tiny_gguf import make_gguf_base
from transformers import AutoModelForCausalLM

from openledger_node.backends.llamacpp.adapters import AdapterConverter
from openledger_node.errors import ModelError
from openledger_node.home import Home
from openledger_node.models import exporting, merging
from openledger_node.models.adapter_source import AdapterPart, AdapterSource
from openledger_node.models.adapters import Adapter, add_adapter
from openledger_node.models.bases import FAKE_BASE, Base, describe_folder
from openledger_node.models.causal_lm import open_causal_lm
from openledger_node.models.exporting import export_adapter
from openledger_node.models.gguf_files.header import read_header
from openledger_node.models.gguf_files.lora import convert_lora, target_of_folder, target_of_gguf
from openledger_node.models.readme import ExportForm
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

PROMPT = torch.tensor([list(range(5, 40))])
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True, "rank_pattern": {"q_proj": 2}},
    "dora": {"use_dora": True},
    "attention": {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return describe_folder(make_base(tmp_path_factory.mktemp("export") / "tiny"))


def folder_of(base: Base) -> Path:
    assert base.folder is not None
    return base.folder


def library_of(base: Base, root: Path, **settings: Any) -> Adapter:
    folder = make_adapter(folder_of(base), root / "harbour", seed=3, **settings)
    return add_adapter(Home(root / "home"), folder, base)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(PROMPT).logits[0].float()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_answers_as_peft_does(base: Base, tmp_path: Path, kind: str) -> None:
    adapter = library_of(base, tmp_path, **KINDS[kind])
    files = export_adapter(adapter, base, "merged", tmp_path / "out")
    assert {file.name for file in files} >= {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert 'library_name: "transformers"' in (tmp_path / "out" / "README.md").read_text(), "it is no adapter any more"
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    bare = logits(plain)
    wanted = logits(PeftModel.from_pretrained(plain, str(adapter.folder)))
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32))
    torch.testing.assert_close(merged, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged, bare, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_merged_model_keeps_the_format_of_its_base(base: Base, tmp_path: Path, dtype: torch.dtype) -> None:
    narrow = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype)
    narrow.save_pretrained(tmp_path / "narrow")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "narrow" / name).write_bytes((folder_of(base) / name).read_bytes())
    narrow_base = describe_folder(tmp_path / "narrow")
    adapter = library_of(narrow_base, tmp_path)
    export_adapter(adapter, narrow_base, "merged", tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert merged.dtype is dtype
    wide = AutoModelForCausalLM.from_pretrained(tmp_path / "narrow", dtype=torch.float32)
    wanted = PeftModel.from_pretrained(wide, str(adapter.folder)).merge_and_unload()
    for (name, ours), theirs in zip(merged.state_dict().items(), wanted.state_dict().values(), strict=True):
        close = (theirs.to(dtype) == ours).float().mean()
        assert close > 0.99, name  # a sum in another order may round to the neighbour


def test_a_gguf_base_is_merged_in_bfloat16(base: Base, tmp_path: Path) -> None:
    gguf_base = describe_folder(make_gguf_base(folder_of(base), tmp_path / "gguf"))
    adapter = library_of(gguf_base, tmp_path)
    export_adapter(adapter, gguf_base, "merged", tmp_path / "out")
    wide = open_causal_lm(folder_of(gguf_base), torch.float32)
    wanted = PeftModel.from_pretrained(wide, str(adapter.folder)).merge_and_unload()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert merged.dtype is torch.bfloat16
    ours, theirs = merged.state_dict(), wanted.state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight.float(), theirs[name].float(), rtol=2**-8, atol=1e-6)


def test_merging_in_small_pieces_gives_the_same_bytes(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = library_of(base, tmp_path, **KINDS["dora"])
    export_adapter(adapter, base, "merged", tmp_path / "whole")
    largest: list[int] = []
    read = merging.read_matrix

    def watched(stream: Any, entry: Any) -> Any:
        largest.append(entry.num_parameters)
        return read(stream, entry)

    monkeypatch.setattr(merging, "read_matrix", watched)
    monkeypatch.setattr(merging, "PIECE_ITEMS", 400)
    export_adapter(adapter, base, "merged", tmp_path / "pieces")
    whole, pieces = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "pieces")
    )
    for name, weight in whole.items():
        torch.testing.assert_close(pieces[name], weight, rtol=1e-6, atol=1e-6)
    assert max(largest) <= 400, "nothing larger was in memory"


@pytest.mark.parametrize("kind", ["lora", "rslora", "attention"])
def test_a_gguf_lora_is_the_one_that_llama_cpp_is_given_for_this_base(base: Base, tmp_path: Path, kind: str) -> None:
    gguf = make_gguf_base(folder_of(base), tmp_path / "gguf")
    adapter = library_of(base, tmp_path, **KINDS[kind])
    [file] = [each for each in export_adapter(adapter, base, "gguf", tmp_path / "out") if each.suffix == ".gguf"]
    assert file.name == "harbour-lora.gguf"
    converter = AdapterConverter(read_header(gguf / "model.gguf"), tmp_path / "cache")
    source = AdapterSource(id=AdapterId("0xaa"), parts=(AdapterPart(folder=str(adapter.folder)),))
    assert file.read_bytes() == converter.convert(source).file.read_bytes()
    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    assert {name.rpartition(".")[2] for name in tensors} == {"lora_a", "lora_b"}


FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "phi3": {"pad_token_id": 0},
    "gemma3_text": {"query_pre_attn_scalar": 12, "sliding_window": 64},
    "mistral": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gguf_lora_of_each_family_has_the_names_of_its_gguf_base(tmp_path: Path, family: str) -> None:
    folder = make_base(tmp_path / "hf", model_type=family, **FAMILIES[family])
    modules = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"] if family == "phi3" else None
    adapter = library_of(describe_folder(folder), tmp_path, **({"target_modules": modules} if modules else {}))
    header = read_header(make_gguf_base(folder, tmp_path / "gguf") / "model.gguf")
    parts = (AdapterPart(folder=str(adapter.folder)),)
    ours, theirs = target_of_folder(folder), target_of_gguf(header)
    assert ours.architecture == theirs.architecture
    expected = convert_lora(parts, theirs)
    for name, (a, b) in convert_lora(parts, ours).items():
        assert (a == expected[name][0]).all()
        assert (b == expected[name][1]).all()


def test_a_gguf_lora_has_no_dora(base: Base, tmp_path: Path) -> None:
    adapter = library_of(base, tmp_path, **KINDS["dora"])
    with pytest.raises(AdapterRefusedError, match="--as merged"):
        export_adapter(adapter, base, "gguf", tmp_path / "out")
    assert {file.name for file in tmp_path.iterdir()} == {"harbour", "home"}, "nothing half is left"


def test_a_peft_folder_is_added_elsewhere_as_the_same_adapter(base: Base, tmp_path: Path) -> None:
    adapter = library_of(base, tmp_path)
    files = export_adapter(adapter, base, "peft", tmp_path / "out")
    names = {"README.md", "adapter.json", "adapter_config.json", "adapter_model.safetensors"}
    assert {file.name for file in files} == names
    assert add_adapter(Home(tmp_path / "other"), tmp_path / "out", base).id == adapter.id
    plain = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    assert PeftModel.from_pretrained(plain, str(tmp_path / "out")) is not None


@pytest.mark.parametrize("form", ["peft", "merged", "gguf"])
def test_nothing_is_written_over(base: Base, tmp_path: Path, form: ExportForm) -> None:
    adapter, out = library_of(base, tmp_path), tmp_path / "out"
    out.mkdir()
    export_adapter(adapter, base, form, out)  # an empty folder is as good as none
    before = {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    for taken in (out, next(iter(before))):
        with pytest.raises(ModelError, match="nothing is written over: name a new one"):
            export_adapter(adapter, base, form, taken)
    assert {file: file.read_bytes() for file in out.iterdir() if file.is_file()} == before


def test_another_base_and_one_without_weights_are_refused(base: Base, tmp_path: Path) -> None:
    adapter = library_of(base, tmp_path)
    with pytest.raises(
        ModelError, match=r"made for another tiny than the one here: run `openledger-node models pull"
    ):
        export_adapter(adapter, FAKE_BASE, "peft", tmp_path / "out")


def test_a_base_in_a_format_that_is_not_read_here_is_refused_with_the_way_out(base: Base, tmp_path: Path) -> None:
    adapter = library_of(base, tmp_path)
    file = folder_of(base) / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = next(name for name in header if name != "__metadata__")
    header[name]["dtype"] = "I32"
    text = json.dumps(header).encode()
    copy = tmp_path / "odd"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(ModelError, match="`--as peft` or `--as gguf`"):
        merging.open_base_weights(copy)
    assert adapter.folder.exists()


def test_a_folder_of_somebody_beside_the_new_one_stays(base: Base, tmp_path: Path) -> None:
    """An export is written beside its folder first, under a name that nobody has."""
    theirs = [tmp_path / f".out.partial{ending}" for ending in ("", "-1")]
    for folder in theirs:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    adapter = library_of(base, tmp_path)
    export_adapter(adapter, base, "peft", tmp_path / "out")
    assert [(folder / "notes.txt").read_text() for folder in theirs] == ["mine", "mine"]
    before = set(tmp_path.iterdir())
    with pytest.raises(AdapterRefusedError):
        export_adapter(adapter, with_another_shape(base, tmp_path), "merged", tmp_path / "failed")
    assert {each.name for each in set(tmp_path.iterdir()) - before} == {"other"}, "a failed one leaves nothing"


def with_another_shape(base: Base, root: Path) -> Base:
    """A base with the digest of another, of which the adapter does not fit."""
    other = describe_folder(make_base(root / "other", hidden_size=32))
    return replace(other, digest=base.digest)


def save_in_two(folder: Path, out: Path) -> None:
    """Write a base's weights as two files with an index."""
    state = load_file(folder / "model.safetensors")
    files = {name: f"model-0000{place % 2 + 1}-of-00002.safetensors" for place, name in enumerate(sorted(state))}
    for file in set(files.values()):
        save_file({name: state[name].contiguous() for name in files if files[name] == file}, out / file)
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


@pytest.mark.parametrize("is_split", [False, True])
def test_other_weights_in_the_folder_of_a_base_are_not_merged(base: Base, tmp_path: Path, is_split: bool) -> None:
    """Folders of hubs also have adapters, and the same weights as other programs store them."""
    folder = tmp_path / "crowded"
    shutil.copytree(folder_of(base), folder)
    if is_split:
        (folder / "model.safetensors").unlink()
        save_in_two(folder_of(base), folder)
    state = load_file(folder_of(base) / "model.safetensors")
    save_file({"lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    save_file({name: torch.zeros(1) for name in state}, folder / "consolidated.safetensors")
    crowded = describe_folder(folder)
    adapter = library_of(crowded, tmp_path)
    export_adapter(adapter, crowded, "merged", tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert {name: weight.shape for name, weight in merged.items()} == {
        name: weight.shape for name, weight in state.items()
    }
    wanted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32), str(adapter.folder)
    )
    ours = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32))
    torch.testing.assert_close(ours, logits(wanted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("{}", "does not say where the weights are: pull the base again"),
        ('{"weight_map": {"a": "../a.safetensors"}}', "does not say where the weights are"),
        ('{"weight_map": {"a": "model.safetensors"}}', "has no tensor a, which model.safetensors.index.json names"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(base: Base, tmp_path: Path, index: str, says: str) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(folder_of(base), folder)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=says):
        merging.open_base_weights(folder)
    for file in folder.glob("model.safetensors*"):
        file.unlink()
    with pytest.raises(ModelError, match="has neither model"):
        merging.open_base_weights(folder)


def test_what_a_killed_export_left_is_deleted_by_the_next_one_and_nothing_else(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, write = library_of(base, tmp_path), exporting.WRITERS["peft"]
    left, theirs, beginning = (tmp_path / f".{name}.partial-1" for name in ("old", "theirs", "new"))
    for folder in (left, theirs, beginning):
        folder.mkdir()
    (left / exporting.MARK).write_text("4711\n")
    (beginning / exporting.MARK).touch()  # of a process that has not locked it yet
    running: list[Path] = []

    def write_beside_another(*given: Any) -> None:
        if not running:
            running.append(given[2])
            export_adapter(adapter, base, "peft", tmp_path / "second")
            assert running[0].is_dir(), "the other export left it alone"
        write(*given)

    monkeypatch.setitem(exporting.WRITERS, "peft", write_beside_another)
    files = export_adapter(adapter, base, "peft", tmp_path / "first")
    assert exporting.MARK not in {file.name for file in files}
    assert sorted(tmp_path.glob(".*")) == sorted([theirs, beginning])
    assert {file.name for file in (tmp_path / "second").iterdir()} == {file.name for file in files}
