"""The common opcodes of the development chain, written out on the stack itself.

py-evm runs each opcode through a dozen small functions. Most opcodes that contracts run are pushes, jumps and plain
arithmetic, so these are short functions here. Each hands what is out of the ordinary, such as a short stack, too
little gas or a wrong jump, to py-evm's own opcode before it has changed anything.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from eth.vm import opcode_values as op
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState

Opcode = Callable[[Any], None]
"""Runs on a computation. py-evm passes it by the name `computation`."""

WORD_BYTES: Final = 32
WORD_MAX: Final = 2**256 - 1
STACK_MAX: Final = 1024
CACHED_CODES: Final = 256

TWO_TO_ONE: Final[Mapping[int, Callable[[int, int], int]]] = {
    op.ADD: lambda left, right: (left + right) & WORD_MAX,
    op.SUB: lambda left, right: (left - right) & WORD_MAX,
    op.MUL: lambda left, right: (left * right) & WORD_MAX,
    op.DIV: lambda left, right: left // right if right else 0,
    op.MOD: lambda left, right: left % right if right else 0,
    op.LT: lambda left, right: int(left < right),
    op.GT: lambda left, right: int(left > right),
    op.EQ: lambda left, right: int(left == right),
    op.AND: lambda left, right: left & right,
    op.OR: lambda left, right: left | right,
    op.XOR: lambda left, right: left ^ right,
    op.SHL: lambda bits, value: (value << bits) & WORD_MAX if bits < 256 else 0,
    op.SHR: lambda bits, value: value >> bits if bits < 256 else 0,
}
"""Opcodes that take two words and give one; the first is the top of the stack."""

ONE_TO_ONE: Final[Mapping[int, Callable[[int], int]]] = {
    op.ISZERO: lambda value: int(not value),
    op.NOT: lambda value: WORD_MAX - value,
}


@lru_cache(CACHED_CODES)
def jump_targets(code: bytes) -> frozenset[int]:
    """The positions in a code that a jump may go to: each JUMPDEST that is no data of a push."""
    found = set()
    position = 0
    while position < len(code):
        opcode = code[position]
        if opcode == op.JUMPDEST:
            found.add(position)
        position += 1 + (opcode - op.PUSH0 if op.PUSH1 <= opcode <= op.PUSH32 else 0)
    return frozenset(found)


def push(plain: Any, size: int) -> Opcode:
    """PUSH0 to PUSH32: the next `size` bytes of the code."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter, code = computation._stack.values, computation._gas_meter, computation.code
        begin = code.program_counter
        end = begin + size
        if meter.gas_remaining < gas or len(values) >= STACK_MAX or end > code._length_cache:
            plain(computation)
            return
        meter.gas_remaining -= gas
        code.program_counter = end
        values.append(int.from_bytes(code._raw_code_bytes[begin:end], "big"))

    return run


def duplicate(plain: Any, depth: int) -> Opcode:
    """DUP1 to DUP16: the entry at `depth` once more."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter = computation._stack.values, computation._gas_meter
        if meter.gas_remaining < gas or not depth <= len(values) < STACK_MAX:
            plain(computation)
            return
        meter.gas_remaining -= gas
        values.append(values[-depth])

    return run


def swap(plain: Any, depth: int) -> Opcode:
    """SWAP1 to SWAP16: the top changes places with the entry `depth` below it."""
    gas, other = plain.gas_cost, -1 - depth

    def run(computation: Any) -> None:
        values, meter = computation._stack.values, computation._gas_meter
        if meter.gas_remaining < gas or len(values) <= depth:
            plain(computation)
            return
        meter.gas_remaining -= gas
        values[-1], values[other] = values[other], values[-1]

    return run


def pop(plain: Any) -> Opcode:
    """POP: drop the top."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter = computation._stack.values, computation._gas_meter
        if meter.gas_remaining < gas or not values:
            plain(computation)
            return
        meter.gas_remaining -= gas
        values.pop()

    return run


def nothing(plain: Any) -> Opcode:
    """JUMPDEST costs gas and does nothing."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        meter = computation._gas_meter
        if meter.gas_remaining < gas:
            plain(computation)
            return
        meter.gas_remaining -= gas

    return run


def two_to_one(plain: Any, result: Callable[[int, int], int]) -> Opcode:
    """An opcode of `TWO_TO_ONE`."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter = computation._stack.values, computation._gas_meter
        if meter.gas_remaining < gas or len(values) < 2:
            plain(computation)
            return
        meter.gas_remaining -= gas
        values[-1] = result(word(values.pop()), word(values[-1]))

    return run


def one_to_one(plain: Any, result: Callable[[int], int]) -> Opcode:
    """An opcode of `ONE_TO_ONE`."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter = computation._stack.values, computation._gas_meter
        if meter.gas_remaining < gas or not values:
            plain(computation)
            return
        meter.gas_remaining -= gas
        values[-1] = result(word(values[-1]))

    return run


def jump(plain: Any, *, is_conditional: bool) -> Opcode:
    """JUMP, or JUMPI, which jumps unless the second entry is 0."""
    gas, num_taken = plain.gas_cost, 1 + is_conditional

    def run(computation: Any) -> None:
        values, meter, code = computation._stack.values, computation._gas_meter, computation.code
        if meter.gas_remaining < gas or len(values) < num_taken:
            plain(computation)
            return
        is_taken = not is_conditional or word(values[-2]) != 0
        if is_taken and (target := word(values[-1])) not in jump_targets(code._raw_code_bytes):
            plain(computation)
            return
        meter.gas_remaining -= gas
        del values[-num_taken:]
        if is_taken:
            code.program_counter = target

    return run


def load(plain: Any) -> Opcode:
    """MLOAD of memory that is there already, so that it costs nothing more."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter, memory = computation._stack.values, computation._gas_meter, computation._memory._bytes
        if meter.gas_remaining < gas or not values:
            plain(computation)
            return
        end = (begin := word(values[-1])) + WORD_BYTES
        if end > len(memory):
            plain(computation)
            return
        meter.gas_remaining -= gas
        values[-1] = int.from_bytes(memory[begin:end], "big")

    return run


def store(plain: Any) -> Opcode:
    """MSTORE to memory that is there already, so that it costs nothing more."""
    gas = plain.gas_cost

    def run(computation: Any) -> None:
        values, meter, memory = computation._stack.values, computation._gas_meter, computation._memory._bytes
        if meter.gas_remaining < gas or len(values) < 2:
            plain(computation)
            return
        end = (begin := word(values[-1])) + WORD_BYTES
        if end > len(memory):
            plain(computation)
            return
        meter.gas_remaining -= gas
        memory[begin:end] = word(values[-2]).to_bytes(WORD_BYTES, "big")
        del values[-2:]

    return run


def word(value: int | bytes) -> int:
    """An entry of py-evm's stack as a number."""
    return value if isinstance(value, int) else int.from_bytes(value, "big")


def quick(plain: Mapping[int, Any]) -> dict[int, Any]:
    """A table of opcodes with the common ones written out."""
    found = {
        op.POP: pop(plain[op.POP]),
        op.JUMPDEST: nothing(plain[op.JUMPDEST]),
        op.JUMP: jump(plain[op.JUMP], is_conditional=False),
        op.JUMPI: jump(plain[op.JUMPI], is_conditional=True),
        op.MLOAD: load(plain[op.MLOAD]),
        op.MSTORE: store(plain[op.MSTORE]),
        **{code: two_to_one(plain[code], result) for code, result in TWO_TO_ONE.items()},
        **{code: one_to_one(plain[code], result) for code, result in ONE_TO_ONE.items()},
        **{op.PUSH0 + size: push(plain[op.PUSH0 + size], size) for size in range(WORD_BYTES + 1)},
        **{op.DUP1 + depth - 1: duplicate(plain[op.DUP1 + depth - 1], depth) for depth in range(1, 17)},
        **{op.SWAP1 + depth - 1: swap(plain[op.SWAP1 + depth - 1], depth) for depth in range(1, 17)},
    }
    for code, run in found.items():
        run.__wrapped__ = plain[code]  # type: ignore[attr-defined]  # py-evm looks for the name of the opcode there
    return {**plain, **found}


class QuickComputation(PragueComputation):
    """py-evm's computation with the common opcodes written out."""

    opcodes = quick(PragueComputation.opcodes)


class QuickState(PragueState):
    """py-evm's state, for computations of these opcodes."""

    computation_class = QuickComputation
