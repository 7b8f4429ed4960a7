"""Where peers were last met, on disk."""

import json
from pathlib import Path

import pytest

from openledger_node.p2p.address_book import ADDRESSES_MAX, AddressBook


def address(name: str, port: int = 1) -> str:
    return f"/ip4/10.0.0.1/tcp/{port}/p2p/{name}"


def test_the_peer_that_was_met_last_comes_first_also_after_a_restart(tmp_path: Path) -> None:
    book = AddressBook(tmp_path)
    for name in ("ada", "ben", "carl", "ada"):
        book.note(address(name))
    book.write()
    assert AddressBook(tmp_path).addresses == (address("ada"), address("carl"), address("ben"))


def test_of_too_many_the_one_met_longest_ago_goes(tmp_path: Path) -> None:
    book = AddressBook(tmp_path)
    for number in range(ADDRESSES_MAX + 1):
        book.note(address(f"peer{number}"))
    assert len(book.addresses) == ADDRESSES_MAX
    assert address("peer0") not in book.addresses


@pytest.mark.parametrize(
    "text", ["[]", '{"schema":"openledger.peers/2","addresses":["/ip4/1.1.1.1/tcp/1/p2p/a"]}', "[" * 100_000]
)
def test_a_file_that_is_not_ours_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "peers.json").write_text(text)
    book = AddressBook(tmp_path)
    assert book.addresses == ()
    book.note(address("ada"))
    book.write()
    assert AddressBook(tmp_path).addresses == (address("ada"),)


def test_only_what_can_be_an_address_is_read(tmp_path: Path) -> None:
    found = [None, 7, "", "/p2p/", "no peer", address("x" * 300), address("ada")]
    (tmp_path / "peers.json").write_text(json.dumps({"schema": "openledger.address_book/1", "addresses": found}))
    assert AddressBook(tmp_path).addresses == (address("ada"),)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    folder.write_text("no folder")
    book = AddressBook(folder)
    book.note(address("ada"))
    book.write()
    assert "can't be written" in caplog.text
    folder.unlink()
    book.write()
    assert AddressBook(folder).addresses == (address("ada"),)
