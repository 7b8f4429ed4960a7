"""Every plug of every socket went through its conformance suite, and none was passed over."""

import pytest

from openledger_node.plugs import PLUGS


def test_every_plug_ran_and_none_was_skipped(
    request: pytest.FixtureRequest, conformance: dict[str, list[str]]
) -> None:
    if not any(item.path.parent.name == "conformance" for item in request.session.items):
        pytest.fail("run this together with tests/conformance: it looks at what ran there")
    for socket, plugs in PLUGS.items():
        for name in plugs:
            outcomes = conformance.get(f"test_{socket}.py[{name}]", [])
            assert outcomes, f"{socket} {name!r} went through no conformance test"
            assert set(outcomes) == {"passed"}, f"{socket} {name!r}: {outcomes}"
