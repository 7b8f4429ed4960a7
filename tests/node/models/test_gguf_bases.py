"""Bases of GGUF files: described once, refused when the file is another one, and fetched from the hub."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.file_site import Site
from support.gguf_stores import publish, put_in_ollama, write_gguf

from openledger_node.errors import ModelError, NetworkError
from openledger_node.home import Home, claim_home
from openledger_node.models import gguf_base, stores
from openledger_node.models.bases import (
    Base,
    base_to_json,
    file_digest,
    find_base,
    is_new_file,
    list_bases,
    read_base,
    remove_base,
    stored_base,
    weight_files,
)
from openledger_node.models.download import pull_base
from openledger_node.models.fetch import Progress, hash_file
from openledger_node.models.gguf_name import read_hub_gguf
from openledger_protocol.errors import MalformedError

FILES = ["Tiny-Q4_K_M.gguf", "Tiny-Q8_0.gguf", "sub/Tiny-Q6_K.gguf", "mmproj-Tiny-f16.gguf", "README.md"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ollama's store of a user without any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setattr(stores, "OLLAMA_FOLDERS", ())
    return tmp_path / "ollama"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "mine" / "Tiny-Q4_K_M.gguf")


def pull(home: Home, name: str, stages: list[Progress] | None = None) -> Base:
    return pull_base(home, name, source=None, report=[].append if stages is None else stages.append)


def rewrite(file: Path, content: bytes) -> None:
    """Write a file anew, later by more than any disk's clock is coarse."""
    later_s = file.stat().st_mtime + 60
    file.write_bytes(content)
    os.utime(file, (later_s, later_s))


def test_a_file_is_described_where_it_is(home: Home, gguf: Path) -> None:
    before = (gguf.read_bytes(), gguf.stat().st_mtime_ns)
    base = pull(home, str(gguf))
    assert (base.name, base.gguf, base.digest, base.source) == ("Tiny-Q4_K_M", gguf, file_digest(gguf), str(gguf))
    assert base.tokenizer_digest is not None
    assert not list(base.folder.glob("*.gguf"))
    assert (gguf.read_bytes(), gguf.stat().st_mtime_ns) == before
    assert find_base(home, str(gguf)) == find_base(home, "Tiny-Q4_K_M") == base
    assert weight_files(base.folder) == [gguf]
    assert base_to_json(base)["gguf"] == str(gguf)


def test_a_file_is_not_used_before_it_was_described(home: Home, gguf: Path) -> None:
    assert is_new_file(home, str(gguf))
    with pytest.raises(ModelError, match=f"is not described here yet: run `openledger-node models pull {gguf}`"):
        find_base(home, str(gguf))
    pull(home, str(gguf))
    assert not is_new_file(home, str(gguf))


def test_a_foreign_file_is_refused_before_it_is_hashed(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "page.gguf"
    file.write_text("<html>")
    stages: list[Progress] = []
    with pytest.raises(ModelError, match=r"it does not begin with GGUF.*get the file again"):
        pull(home, str(file), stages)
    assert stages == []
    assert list_bases(home) == []


def test_a_file_that_was_changed_is_refused_until_it_is_pulled_as_another_base(home: Home, gguf: Path) -> None:
    before = pull(home, str(gguf))
    rewrite(gguf, write_gguf(gguf.with_name("other.gguf"), seed=1).read_bytes())
    for name in (str(gguf), before.name):
        with pytest.raises(
            ModelError, match=r"is not the file that Tiny-Q4_K_M was made from.*`openledger-node models"
        ):
            find_base(home, name)
    after = pull(home, str(gguf))
    assert after.digest == file_digest(gguf) != before.digest
    assert list_bases(home) == [after]
    assert find_base(home, str(gguf)) == after


def test_a_file_that_is_gone_is_named_with_what_to_do(home: Home, gguf: Path) -> None:
    pull(home, str(gguf))
    gguf.unlink()
    assert [base.name for base in list_bases(home)] == ["Tiny-Q4_K_M"]
    with pytest.raises(
        ModelError, match=r"are gone, there is no .*: bring the file back, or run `openledger-node models"
    ):
        find_base(home, "Tiny-Q4_K_M")
    with pytest.raises(ModelError, match=r"there is no file .*put it back"):
        find_base(home, str(gguf))


def test_a_file_that_changes_while_it_is_read_is_refused(
    home: Home, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_while_it_is_written(file: Path, report: Any) -> Any:
        digest = hash_file(file, report)
        rewrite(file, file.read_bytes() + b"x")
        return digest

    monkeypatch.setattr(gguf_base, "hash_file", hash_while_it_is_written)
    with pytest.raises(ModelError, match="changed while it was read: run this again when it is complete"):
        pull(home, str(gguf))
    assert list_bases(home) == []


def test_a_base_is_not_replaced_below_a_running_node(home: Home, gguf: Path) -> None:
    before = pull(home, str(gguf))
    rewrite(gguf, write_gguf(gguf.with_name("other.gguf"), seed=1).read_bytes())
    with claim_home(home, "daemon"), pytest.raises(ModelError, match=r"a node runs here: run `openledger-node stop`"):
        pull(home, str(gguf))
    assert list_bases(home) == [before]


# ---- of Ollama's store


def test_a_model_of_ollama_is_described_with_the_digest_of_its_blob(home: Home, store: Path, gguf: Path) -> None:
    blob = put_in_ollama(store, "tiny/8b", gguf)
    base = pull(home, "ollama:tiny:8b")
    assert (base.name, base.gguf, base.source) == ("tiny-8b", blob, "ollama:tiny:8b")
    assert base.digest == "0x" + blob.name.removeprefix("sha256-")
    assert find_base(home, "ollama:tiny:8b") == base


def test_a_blob_whose_content_is_not_its_name_is_never_described(home: Home, store: Path, gguf: Path) -> None:
    blob = put_in_ollama(store, "tiny/latest", gguf)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(ModelError, match=r"has SHA-256 0x.*, not 0x.* as its name says.*remove ollama:tiny:latest"):
        pull(home, "ollama:tiny")
    assert list_bases(home) == []


def test_two_files_of_one_name_are_told_apart(home: Home, gguf: Path, tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "other" / gguf.name, seed=1)
    first, second = pull(home, str(gguf)), pull(home, str(other))
    assert second.name == f"{first.name}-{second.digest[2:10]}"
    assert find_base(home, str(other)) == second


# ---- removing


def test_removing_a_base_leaves_a_file_elsewhere(home: Home, store: Path, gguf: Path) -> None:
    blob = put_in_ollama(store, "tiny/latest", gguf)
    pull(home, "ollama:tiny")
    pull(home, str(gguf))
    for name in ("ollama:tiny:latest", "Tiny-Q4_K_M"):
        assert remove_base(stored_base(home, name)) > 0
    assert list_bases(home) == []
    assert blob.exists()
    assert gguf.exists()


def test_removing_a_link_leaves_the_folder_that_it_leads_to(home: Home, gguf: Path, tmp_path: Path) -> None:
    base = pull(home, str(gguf))
    assert base.folder
    kept = base.folder.rename(tmp_path / "shared")
    base.folder.symlink_to(kept)
    assert remove_base(stored_base(home, base.name)) == 0
    assert read_base(kept).name == base.name
    assert list_bases(home) == []


# ---- of the hub


@pytest.fixture
def hub(gguf: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A hub with one repository."""
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    publish(site, gguf.read_bytes(), FILES)
    return site


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("owner/name:Q4_K_M", "Tiny-Q4_K_M.gguf"),
        ("owner/name:q8_0", "Tiny-Q8_0.gguf"),
        ("owner/name/Tiny-Q8_0.gguf", "Tiny-Q8_0.gguf"),
        ("owner/name/sub/Tiny-Q6_K.gguf", "sub/Tiny-Q6_K.gguf"),
    ],
)
def test_one_file_of_a_repository_is_fetched(home: Home, hub: Site, gguf: Path, name: str, file: str) -> None:
    stages: list[Progress] = []
    base = pull(home, name, stages)
    assert base.folder
    assert base.gguf == base.folder / Path(file).name
    assert (base.name, base.source, base.digest) == (Path(file).stem, f"owner/name/{file}", file_digest(gguf))
    assert stages[-1] == Progress(what="downloading", done=gguf.stat().st_size, total=gguf.stat().st_size)
    num_asked = len(hub.asked)
    assert pull(home, name) == find_base(home, name) == find_base(home, base.name) == base
    assert len(hub.asked) == num_asked, "what is here is not asked for again"


def test_a_file_that_is_not_what_the_hub_states_is_not_kept(home: Home, hub: Site) -> None:
    hub.files["/owner/name/resolve/c0ffee-main/Tiny-Q8_0.gguf"] = b"GGUF something else"
    with pytest.raises(NetworkError, match="arrived with SHA-256"):
        pull(home, "owner/name:Q8_0")
    assert not [path for path in home.models.rglob("*.gguf*") if path.is_file()]


@pytest.mark.parametrize(
    ("files", "name", "reason"),
    [
        (FILES, "owner/name:Q5_K_M", r"has no Q5_K_M, it has Tiny-Q4_K_M.gguf, .*: choose one of its files"),
        (FILES, "owner/name/gone.gguf", r"has no gone.gguf, it has Tiny-Q4_K_M.gguf"),
        (["model.safetensors"], "owner/name:Q8_0", "has no Q8_0, it has no GGUF file at all"),
        (["a-Q8_0.gguf", "b-Q8_0.gguf"], "owner/name:Q8_0", r"has several files of Q8_0, a-Q8_0.gguf, b-Q8_0.gguf"),
        (["a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"], "owner/name:Q8_0", "only in parts: join its"),
    ],
    ids=["another format", "another file", "no gguf", "two of one format", "parts"],
)
def test_a_repository_without_the_one_file_says_what_it_has(
    home: Home, hub: Site, files: list[str], name: str, reason: str
) -> None:
    publish(hub, b"GGUF", files)
    with pytest.raises(ModelError, match=reason):
        pull(home, name)


def test_a_file_without_a_stated_digest_is_refused(home: Home, hub: Site) -> None:
    publish(hub, b"GGUF", FILES, lfs=None)
    with pytest.raises(ModelError, match=r"the hub states no SHA-256 of owner/name/Tiny-Q8_0\.gguf"):
        pull(home, "owner/name:Q8_0")


@pytest.mark.parametrize("text", ["owner/../x.gguf", "owner/name/../x.gguf", "../name:Q8_0", "owner/.x:Q8_0"])
def test_a_name_that_leads_out_of_a_repository_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="not a name"):
        read_hub_gguf(text)
