"""Who a node is to its peers."""

from pathlib import Path

import pytest

from openledger_node.errors import KeyFileError
from openledger_node.p2p.identity import ensure_identity


def test_an_identity_is_drawn_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    seed = ensure_identity(tmp_path)
    assert len(seed) == 32
    assert ensure_identity(tmp_path) == seed
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o600]


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "é" * 32])
def test_a_damaged_file_is_refused_and_left(tmp_path: Path, text: str) -> None:
    file = tmp_path / "peer.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"peer\.key"):
        ensure_identity(tmp_path)
    assert file.read_text() == text


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    ensure_identity(tmp_path)
    (tmp_path / "peer.key").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        ensure_identity(tmp_path)
