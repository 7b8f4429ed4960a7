"""The development chain's EVM does what py-evm does, instruction by instruction, also where code fails."""

from functools import cache
from typing import Any

import pytest
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm import opcode_values as op
from eth.vm.forks.prague import PragueVM
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.chain.dev.quick_machine import EFFECTS, QuickVM, jump_targets

INVALID = 0xFE
GAS = 60_000
HERE, CALLER = b"\x11" * 20, b"\x22" * 20
EDGES = (0, 1, 2, 31, 32, 255, 256, 257, 1 << 128, (1 << 255) - 1, 1 << 255, (1 << 256) - 2, (1 << 256) - 1)
PURE = [opcode for opcode in EFFECTS if opcode in range(op.ADD, op.SHR + 1)]
NAMES = {opcode: PragueVM._state_class.computation_class.opcodes[opcode].mnemonic for opcode in EFFECTS}
JUMP_OVER_ONE = bytes([op.PUSH1, 4, op.JUMP, INVALID, op.JUMPDEST, op.PUSH1, 7])


@cache
def machine(rules: type[Any]) -> Any:
    chain: Any = type("OneBlock", (MiningChain,), {"vm_configuration": ((0, rules),), "chain_id": 1})
    genesis = {"difficulty": 0, "gas_limit": 30_000_000, "timestamp": 1, "extra_data": b"", "nonce": bytes(8)}
    return chain.from_genesis(AtomicDB(), genesis).get_vm()


def run(rules: type[Any], code: bytes, *, data: bytes = b"", gas: int = GAS) -> Any:
    """What a call leaves: error, gas, output, stack, memory, logs and refund."""
    vm = machine(rules)
    snapshot = vm.state.snapshot()
    try:
        ended = vm.execute_bytecode(CALLER, 0, gas, HERE, CALLER, 0, data, code)
        stack = [value if isinstance(value, int) else int.from_bytes(value, "big") for value in ended._stack.values]
        error = (type(ended.error).__name__, str(ended.error)) if ended.is_error else None
        logs, refund = ended.get_log_entries(), ended.get_gas_refund()
        return error, ended.get_gas_remaining(), ended.output, stack, bytes(ended._memory._bytes), logs, refund
    finally:
        vm.state.revert(snapshot)


def same(code: bytes, **call: Any) -> Any:
    expected = run(PragueVM, code, **call)
    assert run(QuickVM, code, **call) == expected
    return expected


def push(value: int) -> bytes:
    return bytes([op.PUSH32]) + value.to_bytes(32, "big")


@pytest.mark.parametrize("opcode", PURE, ids=NAMES.get)
def test_numbers_are_py_evms_at_every_edge(opcode: int) -> None:
    code = b"".join(push(b) + push(a) + bytes([opcode]) for a in EDGES for b in EDGES)
    error, _, _, stack, *_ = same(code)
    assert error is None
    assert len(stack) >= len(EDGES) ** 2


@pytest.mark.parametrize("opcode", EFFECTS, ids=NAMES.get)
def test_without_values_gas_or_room_the_error_is_py_evms(opcode: int) -> None:
    needed = EFFECTS[opcode][0]
    for height in (0, max(0, needed - 1), needed, 1023, 1024):
        values = bytes([op.PUSH1, 1]) * height
        for gas in (3 * height, 3 * height + 1, 3 * height + 2, 3 * height + 3, GAS):
            same(values + bytes([opcode]), gas=gas)


@pytest.mark.parametrize(
    ("code", "is_right"),
    [
        (JUMP_OVER_ONE, True),
        (bytes([op.PUSH1, 3, op.JUMP, INVALID]), False),  # no target
        (bytes([op.PUSH1, 4, op.JUMP, op.PUSH1, op.JUMPDEST]), False),  # in a pushed number
        (bytes([op.PUSH1, 99, op.JUMP]), False),  # after the end
        (push((1 << 256) - 1) + bytes([op.JUMP]), False),
        (bytes([op.PUSH0, op.PUSH1, 99, op.JUMPI, op.PUSH1, 1]), True),  # not taken, so its target does not matter
        (bytes([op.PUSH1, 1, op.PUSH1, 99, op.JUMPI]), False),
        (bytes([op.PUSH1, 1, op.PUSH1, 6, op.JUMPI, op.STOP, op.JUMPDEST, op.PC]), True),
        (bytes([op.JUMPDEST, op.PUSH0, op.JUMP]), False),  # for ever, until its gas is gone
    ],
)
def test_jumps_end_where_py_evms_do(code: bytes, is_right: bool) -> None:
    assert (same(code)[0] is None) == is_right


@pytest.mark.parametrize("size", range(33))
def test_a_number_that_the_end_of_the_code_cuts_off_is_filled_with_zeros(size: int) -> None:
    for held in range(size + 1):
        same(bytes([op.PUSH0 + size]) + b"\xab" * held)


@pytest.mark.parametrize("start", [0, 1, 31, 32, 33, 64, 1 << 20, 1 << 64, 1 << 255])
def test_memory_grows_at_py_evms_price(start: int) -> None:
    words = push(5) + push(start) + bytes([op.MSTORE])
    same(words + words + push(start) + bytes([op.MLOAD]) + push(start + 1) + bytes([op.MLOAD, op.MSIZE]), gas=1 << 40)


def test_what_is_read_from_memory_stays_when_memory_changes() -> None:
    store, load = push(0) + bytes([op.MSTORE]), push(0) + bytes([op.MLOAD])
    *_, stack, _, _, _ = same(push(5) + store + load + push(6) + store)
    assert stack == [5]


def test_a_jump_target_is_no_part_of_a_pushed_number() -> None:
    code = bytes([op.JUMPDEST, op.PUSH2, op.JUMPDEST, op.JUMPDEST, op.JUMPDEST, op.PUSH32, op.JUMPDEST])
    assert jump_targets(code) == {0, 4}
    assert jump_targets(b"") == frozenset()


# ---- random code: mostly numbers and instructions that use them, so that it runs on for a while

SMALL = st.integers(0, 96).map(lambda value: bytes([op.PUSH1, value]))
EDGE = st.sampled_from(EDGES).map(push)
QUICK = st.sampled_from([bytes([opcode]) for opcode in EFFECTS])
ANY = st.integers(0, 255).map(lambda opcode: bytes([opcode]))
CODE = st.lists(st.one_of(SMALL, SMALL, EDGE, QUICK, QUICK, ANY), max_size=60).map(b"".join)


@pytest.mark.filterwarnings("ignore:SELFDESTRUCT:DeprecationWarning")  # py-evm warns of a fork to come
@given(code=CODE, data=st.binary(max_size=64), gas=st.integers(0, 2_000) | st.just(GAS))
def test_random_code_ends_as_in_py_evm(code: bytes, data: bytes, gas: int) -> None:
    same(code, data=data, gas=gas)
