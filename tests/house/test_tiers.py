"""The first tier starts no process, a tier reads its own files, and one worker runs tests that share a start."""

import subprocess
from pathlib import Path

import pytest
from support.tiers import is_of_other_tier


def test_a_test_of_the_first_tier_that_starts_a_process_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"this test starts a process \(true\): mark it `process`"):
        subprocess.run(["true"], check=True)


def test_a_worker_knows_the_group_of_its_test(request: pytest.FixtureRequest) -> None:
    """A pytest that pytest-xdist does not understand gives each test to any worker, and says nothing."""
    group = request.node.get_closest_marker("xdist_group").args[0]
    assert group == "house/test_tiers.py"
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith(f"@{group}")


@pytest.mark.parametrize(
    ("folder", "source", "tiers"),
    [
        ("network", "", {"test-more"}),
        ("protocol", "", {"test"}),
        ("protocol", "@pytest.mark.process", {"test", "test-more"}),
    ],
)
def test_a_tier_reads_the_files_with_its_tests(tmp_path: Path, folder: str, source: str, tiers: set[str]) -> None:
    path = tmp_path / "tests" / folder / "test_this.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert {tier for tier in ("test", "test-more") if not is_of_other_tier(path, tier)} == tiers
