"""Compile every kernel of the GPU path for cards that need not be here, and print what each takes of a card.

One line per kernel, case and card: registers of a thread, shared memory of a program, bytes of a thread that spill
from registers into memory, bytes of machine code, seconds to compile. The exit status is 1 if a kernel does not
compile, spills, or takes more shared memory than a card has, and if docs/reference/kernels.md shows other figures.
`--write-docs` writes that page.

Triton compiles for any card without one: its package brings NVIDIA's assembler, and LLVM for AMD.
"""

import argparse
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

if __name__ in ("__main__", "__mp_main__"):
    os.environ["TRITON_INTERPRET"] = "0"  # before Triton is imported

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from openledger_node.backends.cuda import kernels
from openledger_node.backends.cuda.kernels.targets import TARGETS, CompileCase, Target

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "reference" / "kernels.md"
ALIGNED: Final = [["tt.divisibility", 16]]
"""Triton's word for an address, or a number, that is a multiple of 16."""

CUOBJDUMP: Final = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
HEAD: Final = """# Kernels of the GPU path

`make kernels ARGS=--write-docs` writes this page: every kernel of `backends/cuda/kernels/`, compiled by Triton
{version} as its launcher runs it at Llama-3.1-8B's shapes. `make kernels` compiles them again, and fails if one
spills registers, takes more shared memory than a program has on the card, or differs from this page. No card is
needed for that, and the page says nothing about speed.

A cell shows the registers of a thread and the shared memory of a program in KiB. A dash stands for a kernel that
another one replaces on that card.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The use that one kernel makes of one card, or the reason why it can't run there."""

    kernel: str
    label: str
    target: Target
    registers: int = 0  # of a thread
    shared_bytes: int = 0  # of a program
    spilled_bytes: int = 0  # of a thread
    code_bytes: int = 0
    took_s: float = 0.0
    error: str = ""

    @property
    def fault(self) -> str:
        """The reason why this kernel must not ship; empty if it may."""
        if self.error:
            return self.error
        if self.spilled_bytes:
            return f"spills {self.spilled_bytes} bytes a thread"
        if self.shared_bytes > self.target.shared_bytes_max:
            return f"takes {self.shared_bytes} bytes of shared memory, of {self.target.shared_bytes_max}"
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="MODULE", help="one of backends/cuda/kernels/, such as lora")
    parser.add_argument("--card", help="one generation, such as 75 or gfx1100")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="kernels at a time")
    parser.add_argument("--write-docs", action="store_true", help=f"write {PAGE.name}")
    words = parser.parse_args()
    began_s = time.monotonic()
    found = list(compile_all(words.only, words.card, words.workers))
    print(f"{len(found)} compiled in {time.monotonic() - began_s:.0f} s by Triton {triton.__version__}")
    faults = [f"{name_of(each)} on {each.target.name}: {each.fault}" for each in found if each.fault]
    if words.write_docs and not faults:
        PAGE.write_text(render(found), encoding="utf-8")
    elif not (words.only or words.card or is_shown(render(found))):
        faults.append(f"{PAGE.name} shows other figures: run `make kernels ARGS=--write-docs`")
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(bool(faults))


def compile_all(only: str | None, card: str | None, num_workers: int) -> Iterator[Compiled]:
    """Compile side by side, and print each line when it is there."""
    targets = [number for number, target in enumerate(TARGETS) if card in (None, str(target.arch))]
    jobs = [
        (module, case, number)
        for module, case in places_of_cases(only)
        for number in targets
        if cases_of(module)[case].is_for(TARGETS[number])
    ]
    assert jobs, "no such kernel module or card"
    print(f"{'kernel':40} {'card':10} {'registers':>9} {'shared':>8} {'spilled':>8} {'code':>8} {'seconds':>8}")
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        for compiled in pool.map(compile_one, *zip(*jobs, strict=True)):
            print(line_of(compiled), flush=True)
            yield compiled


def places_of_cases(only: str | None = None) -> list[tuple[str, int]]:
    """Every case as the name of its module and its number there, which another process finds it by."""
    names = [module.name for module in pkgutil.iter_modules(kernels.__path__) if only in (None, module.name)]
    return [(name, number) for name in names for number in range(len(cases_of(name)))]


def cases_of(module: str) -> Sequence[CompileCase]:
    """The cases of one kernel module; none if it has no kernel."""
    found = importlib.import_module(f"{kernels.__name__}.{module}")
    return found.compile_cases() if hasattr(found, "compile_cases") else ()


def compile_one(module: str, case_number: int, target_number: int) -> Compiled:
    """Compile one case for one card; an error is part of the answer."""
    case, target = cases_of(module)[case_number], TARGETS[target_number]
    began_s = time.monotonic()
    try:
        used = resources(compile_case(case, target), target)
    except Exception as error:  # whatever Triton, LLVM or the assembler raise is the answer here
        used = {"error": f"{type(error).__name__}: {last_words(error)}"}
    name = f"{module}.{case.kernel.__name__}"
    return Compiled(kernel=name, label=case.label, target=target, took_s=time.monotonic() - began_s, **used)


def last_words(error: Exception) -> str:
    """The message with its causes, on one line: Triton hides the kernel's own error behind "at 12:4"."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 3:
        causes.append(" ".join(str(cause).split())[-400:])
        cause = cause.__cause__
    return " / ".join(causes)


def compile_case(case: CompileCase, target: Target) -> Any:
    """Compile a case with arguments as a launch has them: addresses that PyTorch gives are multiples of 16."""
    return triton.compile(
        ASTSource(case.kernel, case.signature(target), dict(case.constants), dict.fromkeys(case.aligned(), ALIGNED)),
        target=GPUTarget(target.kind, target.arch, target.warp),
        options={"num_warps": case.num_warps, "num_stages": case.num_stages},
    )


def resources(compiled: Any, target: Target) -> dict[str, int]:
    """Registers, shared memory, spills and code of a compiled kernel."""
    read = _resources_on_nvidia if target.kind == "cuda" else _resources_on_amd
    return {"shared_bytes": compiled.metadata.shared, **read(compiled.asm)}


def _resources_on_nvidia(asm: Any) -> dict[str, int]:
    cubin = asm["cubin"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(CUOBJDUMP), "-res-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", report)}
    # A kernel of Triton has no arrays and calls nothing, so all that it keeps on a stack has spilled.
    return {"registers": used["REG"], "spilled_bytes": max(used["STACK"], used["LOCAL"]), "code_bytes": len(cubin)}


def _resources_on_amd(asm: Any) -> dict[str, int]:
    text = asm["amdgcn"]
    used = {name: int(value) for name, value in re.findall(r"^\s*\.(\w+):\s+(\d+)$", text, re.MULTILINE)}
    spilled = max(used["private_segment_fixed_size"], 4 * used["vgpr_spill_count"], 4 * used["sgpr_spill_count"])
    return {"registers": used["vgpr_count"], "spilled_bytes": spilled, "code_bytes": len(asm["hsaco"])}


def line_of(each: Compiled) -> str:
    used = f"{each.registers:9} {each.shared_bytes:8} {each.spilled_bytes:8} {each.code_bytes:8} {each.took_s:8.1f}"
    return f"{name_of(each):40} {each.target.name:10} {used}{'  FAULT' if each.fault else ''}"


def name_of(each: Compiled) -> str:
    return f"{each.kernel} {each.label}".strip()


def render(found: Sequence[Compiled]) -> str:
    """The page: one row per case, and one column per card."""
    names = " | ".join(f"{target.name}, {architecture_of(target)}" for target in TARGETS)
    head = [f"| kernel | {names} |", f"|---|{'---|' * len(TARGETS)}"]
    rows = [
        f"| `{name}` | {' | '.join(_cell(name, target, found) for target in TARGETS)} |" for name in names_of(found)
    ]
    return HEAD.format(version=triton.__version__) + "\n".join(["", *head, *rows, ""])


def names_of(found: Sequence[Compiled]) -> list[str]:
    """Every kernel and case once; cases of one name are variants for different cards."""
    return list(dict.fromkeys(map(name_of, found)))


def is_shown(page: str) -> bool:
    """True if the page has this text already."""
    return PAGE.exists() and PAGE.read_text(encoding="utf-8") == page


def architecture_of(target: Target) -> str:
    return f"sm_{target.arch}" if target.kind == "cuda" else str(target.arch)


def _cell(name: str, target: Target, found: Sequence[Compiled]) -> str:
    """The use that a kernel makes of a card; a dash if the launcher has it for other cards only.

    Not the size of its code, which has the path of its source in it and so differs from machine to machine.
    """
    for each in found:
        if (name_of(each), each.target) == (name, target):
            return f"{each.registers}, {each.shared_bytes / 1024:.1f}"
    return "–"


if __name__ == "__main__":
    main()
