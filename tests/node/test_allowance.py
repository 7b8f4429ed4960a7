"""What a process may use of a machine, from what the system's files say."""

from pathlib import PurePosixPath

import pytest

from openledger_node.machine import bytes_within, cores_within, group_folders, usable_bytes, usable_cores


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ([], 8),
        (["max 100000"], 8),
        (["200000 100000"], 2),
        (["150000 100000"], 2),
        (["10000 100000"], 1),
        (["1600000 100000"], 8),
        (["400000 100000", "max 100000", "150000 50000"], 3),
    ],
)
def test_a_quota_bounds_the_cores_and_a_part_of_one_counts_as_one(limits: list[str], cores: int) -> None:
    assert cores_within(8, limits) == cores


@pytest.mark.parametrize(
    ("limits", "size_bytes"),
    [([], 1000), (["max"], 1000), (["max", "400", "600"], 400), (["9223372036854771712"], 1000)],
)
def test_the_tightest_limit_bounds_the_memory(limits: list[str], size_bytes: int) -> None:
    assert bytes_within(1000, limits) == size_bytes


@pytest.mark.parametrize(
    ("own_groups", "folders"),
    [
        ("0::/\n", ["."]),
        ("0::/system.slice/node.service\n", ["system.slice/node.service", "system.slice", "."]),
        ("4:memory:/node\n1:cpu:/node\n0::/a\n", ["a", "."]),
        ("4:memory:/node\n1:cpu:/node\n", []),
        ("0::/../outside\n", []),
        ("", []),
    ],
)
def test_the_limits_of_all_groups_around_a_process_hold(own_groups: str, folders: list[str]) -> None:
    assert group_folders(own_groups) == [PurePosixPath(folder) for folder in folders]


def test_this_machine_has_something_to_use() -> None:
    assert usable_cores() >= 1
    assert usable_bytes() > 1 << 20
