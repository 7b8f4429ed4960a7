"""Whether somebody else works on this machine: a decision from what was seen, with patience on the way back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another program on the GPU."""

    process_id: int
    name: str
    gpu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look at the machine shows of others; ours are left out."""

    has_gpu: bool  # that this node uses: then the CPU does not count
    neighbours: tuple[Neighbour, ...] = ()
    cpu_percent: float = 0.0  # of all cores, by other programs


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyPolicy:
    """From when on others count, and how long it must be quiet."""

    gpu_bytes: int
    cpu_percent: float
    quiet_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """The decision so far."""

    why: str | None = None  # the node stands aside, for this
    loud_at_s: float | None = None  # when others were last seen
    num_loud: int = 0  # looks running at which the CPU was taken


CPU_LOOKS = 2
"""A compiler's burst is over before the second look; a game on the GPU counts at once."""


def judge(before: Busy, seen: Seen, policy: BusyPolicy, *, now_s: float) -> Busy:
    """Stand aside as soon as another program takes the machine, and come back once it was quiet for long enough."""
    loud = _why_loud(seen, policy)
    num_loud = before.num_loud + 1 if loud else 0
    if loud and (before.why or seen.has_gpu or num_loud >= CPU_LOOKS):
        return Busy(why=loud, loud_at_s=now_s, num_loud=num_loud)
    if before.why and now_s - (before.loud_at_s or 0.0) < policy.quiet_s:
        return Busy(why=before.why, loud_at_s=before.loud_at_s, num_loud=num_loud)
    return Busy(num_loud=num_loud)


def _why_loud(seen: Seen, policy: BusyPolicy) -> str | None:
    if seen.has_gpu:
        large = [each for each in seen.neighbours if each.gpu_bytes >= policy.gpu_bytes]
        if not large:
            return None
        first = max(large, key=lambda each: each.gpu_bytes)
        return f"{first.name} (process {first.process_id}) uses {first.gpu_bytes >> 20} MiB of the GPU"
    if seen.cpu_percent >= policy.cpu_percent:
        return f"other programs use {seen.cpu_percent:.0f} % of the CPU"
    return None
