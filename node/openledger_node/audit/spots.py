"""Spots: the values in storage that count money, each by a name that says where it stands."""

from collections.abc import Mapping

Spot = tuple[str | int, ...]
"""A contract, one of its variables, and the path to a value within: keys, indices, members of structs."""

LONG_DIGITS = 40


def show_spot(spot: Spot) -> str:
    """As a programmer would write it: `NodeStaking._nodes[0x…].bonded`."""
    contract, variable, *path = spot
    steps = (f"[{step}]" if _is_key(step) else f".{step}" for step in path)
    return f"{contract}.{variable}{''.join(steps)}"


def show_value(value: int) -> str:
    """A hash in hex, and all else as a number."""
    digits = str(value)
    return digits if len(digits) <= LONG_DIGITS else f"0x{value:064x}"


def sum_of(values: Mapping[Spot, int], contract: str, variable: str, member: str | None = None) -> int:
    """All values of one variable, or those of one member."""
    return sum(
        value
        for spot, value in values.items()
        if spot[:2] == (contract, variable) and (member is None or spot[-1] == member)
    )


def _is_key(step: str | int) -> bool:
    return isinstance(step, int) or step.startswith("0x")
