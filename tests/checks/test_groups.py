"""pytest-xdist heeds the groups of tests, without which each worker would start each shared node."""

import pytest


def test_a_worker_knows_the_group_of_its_test(request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process runs all tests: there are no groups")
    assert request.node.nodeid.endswith("@checks/test_groups.py"), "this pytest-xdist gives no group to this pytest"
