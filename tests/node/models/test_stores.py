"""Models of Ollama and LM Studio: how they are found where those programs keep them, and why one can't be used."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gguf_stores import LAYER, name_in_ollama, ollama_manifest, put_blob, put_in_ollama, write_gguf

from openledger_node.errors import ModelError
from openledger_node.models import stores
from openledger_node.models.stores import find_elsewhere, list_lmstudio, list_ollama, locate

STRANGER = 65_534
OUT_OF_THE_STORE = ["../../etc/passwd", "..", "a/../../b/c", "/etc/passwd", "", "a/b\0c"]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder without any store; the real ones of this machine are out of sight."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setattr(stores, "OLLAMA_FOLDERS", ("~/.ollama/models",))
    return tmp_path


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "made" / "Tiny-Q4_K_M.gguf")


def ollama_of(user: Path) -> Path:
    return user / ".ollama" / "models"


def lmstudio_of(user: Path) -> Path:
    return user / ".lmstudio" / "models"


# ---- every store


@pytest.mark.parametrize("scheme", ["ollama", "lmstudio"])
def test_a_store_that_is_not_there_is_empty_and_says_how_to_fill_it(scheme: str, user: Path) -> None:
    assert find_elsewhere() == ([], {})
    with pytest.raises(ModelError, match="has no model owner/name on this machine"):
        locate(f"{scheme}:owner/name")


@pytest.mark.parametrize("name", OUT_OF_THE_STORE)
@pytest.mark.parametrize("scheme", ["ollama", "lmstudio"])
def test_a_name_that_leads_out_of_a_store_means_nothing(scheme: str, user: Path, gguf: Path, name: str) -> None:
    put_in_ollama(ollama_of(user), "tiny/latest", gguf)
    write_gguf(lmstudio_of(user) / "owner" / "name" / "tiny.gguf")
    with pytest.raises(ModelError, match="has no model"):
        locate(f"{scheme}:{name}")


def test_every_listed_model_is_found_by_the_name_that_is_listed(user: Path, gguf: Path) -> None:
    for path in ("qwen3/8b", "me/mine/latest", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF/Q4_K_M"):
        put_in_ollama(ollama_of(user), path, gguf)
    for name in ("tiny-Q8_0.gguf", "with space & ünïcode.gguf"):
        write_gguf(lmstudio_of(user) / "Owner" / "Some Name" / name)
    found, refused = find_elsewhere()
    assert not refused
    assert {each["source"] for each in found} == {
        "ollama:qwen3:8b",
        "ollama:me/mine:latest",
        "ollama:hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
        "lmstudio:Owner/Some Name/tiny-Q8_0.gguf",
        "lmstudio:Owner/Some Name/with space & ünïcode.gguf",
    }
    for each in found:
        model = locate(each["source"])
        assert (model.source, str(model.file)) == (each["source"], each["file"])


def test_a_listing_says_what_a_model_is_and_what_serves_it(user: Path, gguf: Path) -> None:
    put_in_ollama(ollama_of(user), "tiny/latest", gguf)
    for name, architecture in (("llama-Q3_K_L", "llama"), ("moe-Q8_0", "qwen3moe"), ("plain", "qwen2")):
        write_gguf(lmstudio_of(user) / "o" / "n" / f"{name}.gguf", architecture=architecture)
    found, _ = find_elsewhere()
    own, foreign = ["torch_lora", "llamacpp"], ["llamacpp"]
    assert [(each["store"], each["family"], each["format"], each["backends"]) for each in found] == [
        ("Ollama", "llama", "Q4_K_M", own),
        ("LM Studio", "llama", "Q3_K_L", foreign),
        ("LM Studio", "qwen3moe", "Q8_0", foreign),
        ("LM Studio", "qwen2", None, own),
    ]
    assert found[0]["size_bytes"] == gguf.stat().st_size


def test_a_file_that_is_no_gguf_hides_no_other(user: Path, gguf: Path) -> None:
    put_in_ollama(ollama_of(user), "tiny/latest", gguf)
    (lmstudio_of(user) / "o" / "n").mkdir(parents=True)
    (lmstudio_of(user) / "o" / "n" / "page.gguf").write_text("<html>")
    (lmstudio_of(user) / "o" / "n" / "torn.gguf").write_bytes(gguf.read_bytes()[:40])
    found, refused = find_elsewhere()
    assert [each["source"] for each in found] == ["ollama:tiny:latest"]
    assert [(source, "get the file again" in reason) for source, reason in refused.items()] == [
        ("lmstudio:o/n/page.gguf", True),
        ("lmstudio:o/n/torn.gguf", True),
    ]


# ---- Ollama


@pytest.mark.parametrize("root", ["manifests", "manifests-v2"])
def test_a_model_is_its_blob_and_the_blobs_name_is_its_digest(user: Path, gguf: Path, root: str) -> None:
    blob = put_in_ollama(ollama_of(user), "qwen3/8b", gguf, "params", "license", "system", root=root)
    model = locate("ollama:qwen3:8b")
    assert (model.file, model.title, model.format) == (blob, "qwen3-8b", "Q4_K_M")
    assert model.digest == "0x" + blob.name.removeprefix("sha256-")


def test_the_store_that_the_environment_names_goes_first(
    user: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_ollama(ollama_of(user), "tiny/latest", write_gguf(user / "other.gguf", seed=1))
    blob = put_in_ollama(user / "moved", "tiny/latest", gguf)
    monkeypatch.setenv("OLLAMA_MODELS", str(user / "moved"))
    assert locate("ollama:tiny").file == blob
    assert len(list_ollama().models) == 1


@pytest.mark.parametrize("is_reference", [False, True])
def test_of_a_list_of_manifests_the_gguf_one_is_taken(user: Path, gguf: Path, *, is_reference: bool) -> None:
    store = ollama_of(user)
    ours = {**ollama_manifest(store, gguf.read_bytes()), "runner": "llamacpp", "format": "gguf"}
    digest = ours["layers"][0]["digest"]
    if is_reference:
        blob = put_blob(store, json.dumps(ours).encode())["digest"]
        ours = {"mediaType": ours["mediaType"], "digest": blob, "runner": "llamacpp", "format": "gguf"}
    mlx = {**ollama_manifest(store, None, "tensor"), "runner": "mlx", "format": "safetensors"}
    name_in_ollama(store, "tiny/latest", {"schemaVersion": 2, "manifests": [mlx, ours]})
    assert locate("ollama:tiny").digest == "0x" + digest[7:]


@pytest.mark.parametrize(
    ("weights", "others"),
    [(b"GGUF", ["adapter"]), (b"GGUF", ["projector"]), (None, ["tensor", "tensor"]), (None, [])],
    ids=["adapter", "projector", "mlx", "cloud"],
)
def test_a_model_that_no_gguf_file_stands_for_is_refused_by_its_layers(
    user: Path, weights: bytes | None, others: list[str]
) -> None:
    name_in_ollama(ollama_of(user), "tiny/latest", ollama_manifest(ollama_of(user), weights, *others))
    with pytest.raises(
        ModelError, match=f"ollama:tiny:latest is no text model in GGUF .its layers: .*{''.join(others[:1])}"
    ):
        locate("ollama:tiny")
    assert [*list_ollama().refused] == ["ollama:tiny:latest"]


@pytest.mark.parametrize("content", ["", "[]", '{"layers": 7}', "[" * 50_000, '{"layers": [7, null]}'])
def test_a_torn_manifest_is_refused_and_hides_no_other(user: Path, gguf: Path, content: str) -> None:
    put_in_ollama(ollama_of(user), "whole/latest", gguf)
    name_in_ollama(ollama_of(user), "torn/latest", content)
    with pytest.raises(ModelError, match="torn"):
        locate("ollama:torn")
    listing = list_ollama()
    assert [*listing.models] == ["ollama:whole:latest"]
    assert [*listing.refused] == ["ollama:torn:latest"]


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha256:" + "g" * 64, "md5:1", None, 7])
def test_a_digest_that_is_none_leads_nowhere(user: Path, digest: object) -> None:
    layer = {"mediaType": f"{LAYER}model", "digest": digest, "size": 4}
    name_in_ollama(ollama_of(user), "tiny/latest", json.dumps({"layers": [layer]}))
    with pytest.raises(ModelError, match="which is not a digest: run `ollama pull tiny:latest` again"):
        locate("ollama:tiny")


def test_weights_that_are_missing_or_torn_are_pulled_again(user: Path, gguf: Path) -> None:
    blob = put_in_ollama(ollama_of(user), "tiny/latest", gguf)
    told = r"the weights of ollama:tiny:latest are missing or torn.*`ollama pull tiny:"
    blob.write_bytes(gguf.read_bytes()[:-1])
    with pytest.raises(ModelError, match=told):
        locate("ollama:tiny")
    blob.unlink()
    with pytest.raises(ModelError, match=told):
        locate("ollama:tiny")


# ---- LM Studio


def test_a_model_in_several_parts_is_refused_with_how_to_join_them(user: Path) -> None:
    for part in (1, 2):
        write_gguf(lmstudio_of(user) / "owner" / "name" / f"large-Q4_K_M-0000{part}-of-00002.gguf")
    with pytest.raises(ModelError, match="is one part of several: join its parts with `llama-gguf-split --merge`"):
        locate("lmstudio:owner/name")
    assert len(list_lmstudio().refused) == 2


def test_a_link_whose_file_is_gone_is_refused(user: Path) -> None:
    file = lmstudio_of(user) / "owner" / "name" / "tiny.gguf"
    file.parent.mkdir(parents=True)
    file.symlink_to(user / "gone.gguf")
    assert "is missing" in list_lmstudio().refused["lmstudio:owner/name/tiny.gguf"]


# ---- a store that this user may not read


@pytest.fixture
def closed(gguf: Path) -> Iterator[Path]:
    """A store as the service of Ollama's installer has it, below a folder that only its own user may enter."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        store = Path(root) / "ollama" / ".ollama" / "models"
        put_in_ollama(store, "tiny/latest", gguf)
        write_gguf(Path(root) / "ollama" / "lm" / "owner" / "name" / "tiny.gguf")
        (Path(root) / "ollama").chmod(0o700 if os.geteuid() == 0 else 0)
        yield store
        (Path(root) / "ollama").chmod(0o700)


@contextlib.contextmanager
def as_stranger() -> Iterator[None]:
    """Be a user whom the file system refuses, also where the tests run as root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_closed_store_names_the_command_that_opens_it_and_hides_no_open_one(
    closed: Path, gguf: Path, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = closed.parents[2] / "open"
    blob = put_in_ollama(opened, "tiny/latest", gguf)
    monkeypatch.setattr(stores, "OLLAMA_FOLDERS", (str(closed),))
    root = closed.parents[1]
    command = f"sudo chmod a\\+x {root} {root}/.ollama && sudo chmod -R a\\+rX {closed}`"
    with as_stranger():
        with pytest.raises(ModelError, match=f"{closed} can't be read by this user: `{command}"):
            locate("ollama:tiny")
        monkeypatch.setattr(stores, "OLLAMA_FOLDERS", (str(closed), str(opened)))
        assert locate("ollama:tiny").file == blob
        listing = list_ollama()
    assert [model.file for model in listing.models.values()] == [blob]
    assert [*listing.refused] == [str(closed)]


# ---- a file by its path


def test_a_file_is_found_by_its_path(user: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gguf.parent)
    for name in (str(gguf), gguf.name, f"./{gguf.name}", f"~/made/{gguf.name}"):
        model = locate(name)
        assert (model.file, model.source, model.title) == (gguf, str(gguf), "Tiny-Q4_K_M")
