"""The list of bases: one in the data directory, and a folder of the operator's that is linked there."""

from pathlib import Path

from openledger_node.home import Home
from openledger_node.models.bases import describe_folder
from openledger_node.operator.adapters import models_to_plain


def put_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    describe_folder(folder)
    return folder


def test_a_linked_folder_is_told_from_one_that_is_here(home: Home, tmp_path: Path) -> None:
    put_folder(home.models / "here")
    (home.models / "linked").symlink_to(put_folder(tmp_path / "linked"))
    listed = models_to_plain(home, "here")["models"]
    assert [(base["name"], base["is_link"], base["is_served"]) for base in listed] == [
        ("here", False, True),
        ("linked", True, False),
    ]
