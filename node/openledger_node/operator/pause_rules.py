"""The rule of automatic pauses for other programs that need the machine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another program on the GPU."""

    process_id: int
    name: str
    gpu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLoad:
    """The load of other programs on the machine, without this node's own."""

    has_gpu: bool  # this node uses one, so the CPU does not count
    neighbours: tuple[Neighbour, ...] = ()
    cpu_percent: float = 0.0  # of all cores, by other programs


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyPolicy:
    """The load of others from which on the node pauses, and how long the machine must then be quiet."""

    gpu_bytes: int
    cpu_percent: float
    quiet_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The decision so far."""

    why: str | None = None  # the reason of the pause; None: the node serves
    loud_at_s: float | None = None  # the last time others were over the limit
    num_loud: int = 0  # consecutive looks over the limit


CPU_LOOKS = 2
"""Consecutive looks over the CPU limit that pause the node: a compiler's burst is over before the second one."""


def judge(before: Busy, seen: OtherLoad, policy: BusyPolicy, *, now_s: float) -> Busy:
    """Pause as soon as another program takes the machine, and resume once it was quiet for `quiet_s`."""
    loud = _why_loud(seen, policy)
    num_loud = before.num_loud + 1 if loud else 0
    if loud and (before.why or seen.has_gpu or num_loud >= CPU_LOOKS):
        return Busy(why=loud, loud_at_s=now_s, num_loud=num_loud)
    if before.why and now_s - (before.loud_at_s or 0.0) < policy.quiet_s:
        return Busy(why=before.why, loud_at_s=before.loud_at_s, num_loud=num_loud)
    return Busy(num_loud=num_loud)


def _why_loud(seen: OtherLoad, policy: BusyPolicy) -> str | None:
    if seen.has_gpu:
        large = [each for each in seen.neighbours if each.gpu_bytes >= policy.gpu_bytes]
        if not large:
            return None
        first = max(large, key=lambda each: each.gpu_bytes)
        return f"{first.name} (process {first.process_id}) uses {first.gpu_bytes / 1e9:.1f} GB of the GPU"
    if seen.cpu_percent >= policy.cpu_percent:
        return f"other programs use {seen.cpu_percent:.0f} % of the CPU"
    return None
