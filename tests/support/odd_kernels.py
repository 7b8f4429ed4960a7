"""Kernels that scripts/kernel_table.py has to tell apart: a good one, one that spills, one that does not compile."""

import triton
import triton.language as tl

from openledger_node.backends.cuda.kernels.targets import CompileCase


@triton.jit
def copied(source, out, num, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(source + at, mask=at < num), mask=at < num)


@triton.jit
def spilling(source, out, num, LENGTH: tl.constexpr):
    """Holds 2 × 8,192 numbers in one warp: 512 registers a thread, of 255."""
    at = tl.arange(0, LENGTH)
    held, more = tl.load(source + at), tl.load(source + LENGTH + at, mask=at < 2048, other=0.0)
    for _ in range(num):
        held, more = held / tl.sum(held), more + tl.max(held)
    tl.store(out + at, held + more)


@triton.jit
def wrong(source, out):
    tl.store(out, tl.load(source) + tl.arange(0, 3))


COPIED = CompileCase(
    kernel=copied, types={"source": "*half", "out": "*half", "num": "i32:16"}, constants={"BLOCK": 1024}
)
SPILLING = CompileCase(
    kernel=spilling, types={"source": "*fp32", "out": "*fp32", "num": "i32"}, constants={"LENGTH": 8192}, num_warps=1
)
WRONG = CompileCase(kernel=wrong, types={"source": "*fp32", "out": "*fp32"}, constants={})


def compile_cases() -> tuple[CompileCase, ...]:
    return (COPIED, SPILLING, WRONG)
