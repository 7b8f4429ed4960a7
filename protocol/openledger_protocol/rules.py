"""Attribution rules that a Datanet may allow. The chain stores a set of them with bit n for algoId n."""

from collections.abc import Iterable
from typing import Final

TEXT_RULE: Final = 1
SIGNALS_RULE: Final = 7
DATANET_RULES: Final = {TEXT_RULE: "suffix-v1", SIGNALS_RULE: "poa-v3"}
"""Names of the rules, by algoId; a higher one is preferred where both are allowed."""

USUAL_RULES: Final = (TEXT_RULE,)


def rules_from_bits(bits: int) -> tuple[int, ...]:
    """The rules of a set as the chain stores it, ascending; those that this release does not know are left out."""
    return tuple(rule for rule in sorted(DATANET_RULES) if bits >> rule & 1)


def bits_from_rules(rules: Iterable[int]) -> int:
    """A set of rules as the chain stores it."""
    return sum(1 << rule for rule in set(rules))


def common_rules(allowed: Iterable[Iterable[int]]) -> tuple[int, ...]:
    """The rules that all Datanets of an adapter allow, ascending; without Datanets, suffix-v1."""
    sets = [set(rules) for rules in allowed]
    return tuple(sorted(set.intersection(*sets))) if sets else USUAL_RULES


def rule_names(rules: Iterable[int]) -> str:
    """Names of rules for a message, in their order; "none" if there are none."""
    return ", ".join(DATANET_RULES.get(rule, f"rule {rule}") for rule in rules) or "none"
