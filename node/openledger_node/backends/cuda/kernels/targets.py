"""The cards that every kernel is compiled for without one, and the kernels' cases for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import triton

IS_INTERPRETED: Final = bool(triton.knobs.runtime.interpret)
"""True if kernels run on Triton's interpreter, for tests. Its `tl.dot` of bfloat16 is wrong, so it gets float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A generation of cards."""

    name: str  # a card that has it
    kind: str  # cuda or hip
    arch: int | str
    warp: int  # threads
    shared_bytes_max: int  # of a program
    has_bfloat16: bool = True


TARGETS = (
    Target(name="RTX 2080", kind="cuda", arch=75, warp=32, shared_bytes_max=48 << 10, has_bfloat16=False),
    Target(name="A100", kind="cuda", arch=80, warp=32, shared_bytes_max=99 << 10),
    Target(name="RTX 3090", kind="cuda", arch=86, warp=32, shared_bytes_max=99 << 10),
    Target(name="RTX 4090", kind="cuda", arch=89, warp=32, shared_bytes_max=99 << 10),
    Target(name="H100", kind="cuda", arch=90, warp=32, shared_bytes_max=99 << 10),
    Target(name="RTX 5090", kind="cuda", arch=120, warp=32, shared_bytes_max=99 << 10),
    Target(name="RX 7900", kind="hip", arch="gfx1100", warp=32, shared_bytes_max=64 << 10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileCase:
    """One kernel as its launcher runs it at the shapes of an 8B base.

    Addresses count as multiples of 16, as PyTorch's are; other numbers only where their type ends in ":16".
    """

    kernel: Any  # a function under @triton.jit
    types: Mapping[str, str]  # of all arguments but constants; "*half" is the serving format of the target
    constants: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 2
    label: str = ""  # tells cases of one kernel apart
    archs: tuple[int | str, ...] = ()  # generations that the launcher has this case for; (): all

    def is_for(self, target: Target) -> bool:
        """True if a card of this generation runs it."""
        return not self.archs or target.arch in self.archs

    def __post_init__(self) -> None:
        missing = set(self.kernel.arg_names) - set(self.types) - set(self.constants)
        assert not missing, f"{self.kernel.__name__} has arguments without a type: {missing}"

    def signature(self, target: Target) -> dict[str, str]:
        """The types of all arguments in the words of Triton, in the kernel's order."""
        half = "bf16" if target.has_bfloat16 else "fp16"
        types = {name: kind.partition(":")[0].replace("half", half) for name, kind in self.types.items()}
        return {name: "constexpr" if name in self.constants else types[name] for name in self.kernel.arg_names}

    def aligned(self) -> list[tuple[int]]:
        """The places of the arguments that are multiples of 16."""
        of = {name: kind for name, kind in self.types.items() if name not in self.constants}
        names = [name for name, kind in of.items() if kind.startswith("*") or kind.endswith(":16")]
        return [(self.kernel.arg_names.index(name),) for name in names]
