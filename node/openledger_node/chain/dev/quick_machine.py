"""The EVM of the development chain: py-evm's, with its commonest instructions run in one loop.

py-evm calls seven Python functions to add two numbers. Here, an instruction that only moves numbers between stack,
memory and the program counter takes one or two. Every other instruction, and each that lacks gas, values, room or a
valid target, is left to py-evm, so that its rules, its gas and its errors hold unchanged.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from eth.abc import MessageAPI, StateAPI, TransactionContextAPI
from eth.vm import opcode_values as op
from eth.vm.code_stream import CodeStream
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState

Values = list[int | bytes]
"""The stack. py-evm keeps a value in the form that the instruction had which pushed it."""

Effect = Callable[["QuickCode", Values, int], int]
"""Runs the instruction at a place, and returns the next place; LEFT if py-evm must run it."""

LEFT: Final = -1
WORD: Final = 32
MASK: Final = (1 << 256) - 1
SIGN: Final = 1 << 255
STACK_MAX: Final = 1024
CODES_KEPT: Final = 64


class QuickCode(CodeStream):
    """The code of one call, which runs what it can in place and yields what py-evm must run."""

    __slots__ = ("memory", "meter", "targets", "values")

    def __init__(self, code: bytes, values: Values, memory: Any, meter: Any) -> None:
        super().__init__(code)
        self.values = values
        self.memory = memory
        self.meter = meter
        self.targets = jump_targets(code)

    def __iter__(self) -> Iterator[int]:
        """Yield each instruction that py-evm must run; STOP comes after the last one."""
        code, meter, end = self._raw_code_bytes, self.meter, self._length_cache
        while True:
            place, meter.gas_remaining = self._run(self.program_counter, meter.gas_remaining)
            self.program_counter = place + 1
            if place >= end:
                yield op.STOP
                return
            yield code[place]

    def is_valid_opcode(self, position: int) -> bool:
        """True if a jump may end there. py-evm asks this only about the place of a JUMPDEST."""
        return position in self.targets

    def _run(self, place: int, gas: int) -> tuple[int, int]:
        """Run instructions from a place on; return the place of the first that is left, and the remaining gas."""
        code, values, end = self._raw_code_bytes, self.values, self._length_cache
        while place < end:
            instruction = INSTRUCTIONS[code[place]]
            if instruction is None:
                break
            needed, cost, effect = instruction
            if gas < cost or not needed <= len(values) < STACK_MAX:
                break
            after = effect(self, values, place)
            if after == LEFT:
                break
            place, gas = after, gas - cost
        return place, gas


class QuickComputation(PragueComputation):
    """A call whose code runs in place."""

    def __init__(self, state: StateAPI, message: MessageAPI, transaction_context: TransactionContextAPI) -> None:
        super().__init__(state, message, transaction_context)
        stack: Any = self._stack
        self.code = QuickCode(message.code, stack.values, self._memory, self._gas_meter)


class _QuickState(PragueState):
    computation_class = QuickComputation


class QuickVM(PragueVM):
    """The rules of the Prague fork."""

    _state_class = _QuickState


@lru_cache(CODES_KEPT)
def jump_targets(code: bytes) -> frozenset[int]:
    """The places where a jump may end: each JUMPDEST that is no part of a pushed number."""
    found, place = [], 0
    while place < len(code):
        opcode = code[place]
        if opcode == op.JUMPDEST:
            found.append(place)
        place += 1 + (opcode - op.PUSH0 if op.PUSH0 <= opcode <= op.PUSH32 else 0)
    return frozenset(found)


# ---- effects


def _number(value: int | bytes) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "big")


def _one(result: Callable[[int], int]) -> Effect:
    def effect(_: QuickCode, values: Values, place: int) -> int:
        values[-1] = result(_number(values[-1]))
        return place + 1

    return effect


def _two(result: Callable[[int, int], int]) -> Effect:
    def effect(_: QuickCode, values: Values, place: int) -> int:
        top, second = values.pop(), values[-1]
        values[-1] = result(
            top if isinstance(top, int) else int.from_bytes(top, "big"),
            second if isinstance(second, int) else int.from_bytes(second, "big"),
        )
        return place + 1

    return effect


def _push(size: int) -> Effect:
    def effect(code: QuickCode, values: Values, place: int) -> int:
        after = place + 1 + size
        if after > code._length_cache:
            return LEFT
        values.append(int.from_bytes(code._raw_code_bytes[place + 1 : after], "big"))
        return after

    return effect


def _dup(depth: int) -> Effect:
    def effect(_: QuickCode, values: Values, place: int) -> int:
        values.append(values[-depth])
        return place + 1

    return effect


def _swap(depth: int) -> Effect:
    def effect(_: QuickCode, values: Values, place: int) -> int:
        values[-1], values[-depth] = values[-depth], values[-1]
        return place + 1

    return effect


def _pop(_: QuickCode, values: Values, place: int) -> int:
    values.pop()
    return place + 1


def _jump(code: QuickCode, values: Values, _: int) -> int:
    target = _number(values[-1])
    if target not in code.targets:
        return LEFT
    values.pop()
    return target


def _jump_if(code: QuickCode, values: Values, place: int) -> int:
    target, condition = _number(values[-1]), _number(values[-2])
    if condition and target not in code.targets:
        return LEFT
    del values[-2:]
    return target if condition else place + 1


def _jump_target(_: QuickCode, __: Values, place: int) -> int:
    return place + 1


def _load(code: QuickCode, values: Values, place: int) -> int:
    start = _number(values[-1])
    held = code.memory._bytes
    if start + WORD > len(held):  # memory grows, which costs more
        return LEFT
    values[-1] = bytes(held[start : start + WORD])
    return place + 1


def _store(code: QuickCode, values: Values, place: int) -> int:
    start = _number(values[-1])
    held = code.memory._bytes
    if start + WORD > len(held):
        return LEFT
    held[start : start + WORD] = _number(values[-2]).to_bytes(WORD, "big")
    del values[-2:]
    return place + 1


# ---- the table

EFFECTS: Final[dict[int, tuple[int, Effect]]] = {  # of an opcode: the values that it needs, and its effect
    **{op.PUSH0 + size: (0, _push(size)) for size in range(33)},
    **{op.DUP1 + depth - 1: (depth, _dup(depth)) for depth in range(1, 17)},
    **{op.SWAP1 + depth - 1: (depth + 1, _swap(depth + 1)) for depth in range(1, 17)},
    op.POP: (1, _pop),
    op.JUMP: (1, _jump),
    op.JUMPI: (2, _jump_if),
    op.JUMPDEST: (0, _jump_target),
    op.MLOAD: (1, _load),
    op.MSTORE: (2, _store),
    op.ISZERO: (1, _one(lambda a: 0 if a else 1)),
    op.NOT: (1, _one(lambda a: MASK - a)),
    op.ADD: (2, _two(lambda a, b: (a + b) & MASK)),
    op.SUB: (2, _two(lambda a, b: (a - b) & MASK)),
    op.MUL: (2, _two(lambda a, b: (a * b) & MASK)),
    op.DIV: (2, _two(lambda a, b: a // b if b else 0)),
    op.MOD: (2, _two(lambda a, b: a % b if b else 0)),
    op.LT: (2, _two(lambda a, b: 1 if a < b else 0)),
    op.GT: (2, _two(lambda a, b: 1 if a > b else 0)),
    op.SLT: (2, _two(lambda a, b: 1 if a ^ SIGN < b ^ SIGN else 0)),
    op.SGT: (2, _two(lambda a, b: 1 if a ^ SIGN > b ^ SIGN else 0)),
    op.EQ: (2, _two(lambda a, b: 1 if a == b else 0)),
    op.AND: (2, _two(lambda a, b: a & b)),
    op.OR: (2, _two(lambda a, b: a | b)),
    op.XOR: (2, _two(lambda a, b: a ^ b)),
    op.SHL: (2, _two(lambda a, b: (b << a) & MASK if a < 256 else 0)),
    op.SHR: (2, _two(lambda a, b: b >> a if a < 256 else 0)),
}


def _instruction(opcode: int) -> tuple[int, int, Effect] | None:
    """The values that an instruction needs, its gas and its effect; None if py-evm runs it."""
    if opcode not in EFFECTS:
        return None
    needed, effect = EFFECTS[opcode]
    rule: Any = PragueComputation.opcodes[opcode]
    return needed, rule.gas_cost, effect


INSTRUCTIONS: Final = tuple(map(_instruction, range(256)))
