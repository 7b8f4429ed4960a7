"""Prometheus's text format, written by a table that declares each metric family before its readings.

prometheus-client is installed with libp2p and could write this text. It would save few lines, and change nearly every
line of a scrape: it writes integers as floats (1.0, 1.23456789e+08), sorts labels, and puts _count before _sum.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "openledger_"

Kind = Literal["counter", "gauge", "histogram"]
Buckets = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric; all its series have these labels."""

    name: str  # without the prefix of its table
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One figure of a family."""

    family: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One histogram of a family."""

    family: str
    buckets: Buckets  # upper bound, number of values up to it; the last bound is infinite
    sum: float
    labels: Mapping[str, str] = field(default_factory=dict)


Reading = Sample | Distribution


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Every metric of one kind of node, in the order of a scrape."""

    families: tuple[Family, ...]
    prefix: str = PREFIX

    def text(self, readings: Iterable[Reading]) -> str:
        """Write all readings, family by family; families without readings are left out."""
        by_family: dict[str, list[Reading]] = {}
        for reading in readings:
            by_family.setdefault(reading.family, []).append(reading)
        lines: list[str] = []
        for family in self.families:
            if found := by_family.pop(family.name, None):
                name = self.prefix + family.name
                lines += [f"# HELP {name} {_escaped(family.help, quote=False)}", f"# TYPE {name} {family.kind}"]
                for reading in found:
                    assert tuple(reading.labels) == family.labels, family.name
                    lines += _lines(name, reading)
        assert not by_family, f"undeclared: {sorted(by_family)}"
        return "\n".join([*lines, ""])


def figures(values: Mapping[str, float]) -> Iterator[Sample]:
    """One reading of each family without labels."""
    return (Sample(family=name, value=value) for name, value in values.items())


def by_label(family: str, label: str, values: Mapping[str, float]) -> Iterator[Sample]:
    """The readings of a family with one label."""
    return (Sample(family=family, value=value, labels={label: str(name)}) for name, value in values.items())


def _lines(name: str, reading: Reading) -> list[str]:
    if isinstance(reading, Sample):
        return [f"{name}{_labels(reading.labels)} {_number(reading.value)}"]
    bounds = [
        f"{name}_bucket{_labels({**reading.labels, 'le': _number(bound)})} {count}"
        for bound, count in reading.buckets
    ]
    labels, (_, count) = _labels(reading.labels), reading.buckets[-1]
    return [*bounds, f"{name}_sum{labels} {_number(reading.sum)}", f"{name}_count{labels} {count}"]


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escaped(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
