"""The development chain's opcodes do what py-evm's own do, on any stack, with any gas, and on any code."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from eth.vm import opcode_values as op
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from openledger_node.chain.clients.simulated import GENESIS_S
from openledger_node.chain.dev.calls import room_for_calls
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.embedded import open_chain
from openledger_node.chain.dev.opcodes import QuickComputation, QuickState, jump_targets, word

PLENTY = 200_000
SENDER = bytes.fromhex(BANK[2:])
QUICK = sorted(code for code, run in QuickComputation.opcodes.items() if run is not PragueComputation.opcodes[code])
OTHERS = (op.SDIV, op.SAR, op.BYTE, op.ADDMOD, op.SHA3, op.CALLDATALOAD)
EDGES = (0, 1, 2, 31, 32, 255, 256, 2**255, 2**256 - 1)


def pushed(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([op.PUSH0 + len(data)]) + data


words = st.one_of(st.sampled_from(EDGES), st.integers(0, 40), st.integers(0, 2**256 - 1))
steps = st.one_of(words.map(pushed), st.sampled_from([*QUICK, *OTHERS]).map(lambda code: bytes([code])))
programs = st.lists(steps, max_size=40).map(b"".join)
codes = st.one_of(programs, st.binary(max_size=60))


@pytest.fixture(scope="module")
def states() -> Iterator[tuple[Any, Any]]:
    """The state of a chain twice: for the opcodes of py-evm, and for ours."""
    with closing(open_chain(None, GENESIS_S)) as chain:
        ours = chain.state(chain.head)
        assert isinstance(ours, QuickState), "the chain runs on these opcodes"
        yield PragueState(ours._db, ours.execution_context, ours.state_root), ours


def outcome(state: Any, code: bytes, gas: int) -> tuple[Any, ...]:
    """What is left after a code has run: its result, error and gas, and each word of stack and memory."""
    with room_for_calls():
        ran = state.computation_class.apply_message(
            state,
            Message(gas=gas, to=SENDER, sender=SENDER, value=0, data=bytes(range(64)), code=code),  # type: ignore[arg-type]
            state.get_transaction_context_class()(gas_price=0, origin=SENDER),
        )
    error = ran.error if ran.is_error else None
    stack = [word(value) for value in ran._stack.values]
    left = () if error else (stack, bytes(ran._memory._bytes), ran.code.program_counter)
    return ran.output, type(error), str(error), ran.get_gas_remaining(), *left


@given(code=codes, gas=st.one_of(st.just(PLENTY), st.integers(0, 120)))
@example(code=pushed(4) + bytes([op.JUMP, op.PUSH1, op.JUMPDEST]), gas=PLENTY)  # a jump into a push's data
@example(code=bytes([op.PUSH0, op.PUSH0, op.JUMPI]), gas=PLENTY)  # it is not taken, so its target is no matter
@example(code=bytes([op.PUSH32, 1, 2]), gas=PLENTY)  # the code ends within a push
@example(code=bytes([op.PUSH0]) * 1025, gas=PLENTY)
@example(code=bytes([op.PUSH0]) * 1024 + bytes([op.DUP1]), gas=PLENTY)
@example(code=pushed(0) + bytes([op.MLOAD]) + pushed(1) + bytes([op.MLOAD]), gas=PLENTY)  # a byte more than there is
@example(code=bytes([op.PUSH0, op.PUSH0, op.MSTORE, op.PUSH0]) + pushed(1) + bytes([op.MSTORE]), gas=PLENTY)
@example(code=pushed(2**256 - 1) + bytes([op.MLOAD]), gas=PLENTY)
def test_any_code_ends_as_it_ends_in_py_evm(states: tuple[Any, Any], code: bytes, gas: int) -> None:
    plain, quick = states
    assert outcome(quick, code, gas) == outcome(plain, code, gas)


@pytest.mark.parametrize("code", QUICK, ids=lambda code: PragueComputation.opcodes[code].mnemonic)
def test_each_opcode_gives_what_it_gives_in_py_evm(states: tuple[Any, Any], code: int) -> None:
    """Over pairs of words at the edges, with just too little gas, and on a stack that is one entry too short."""
    plain, quick = states
    for top in EDGES:
        for second in EDGES:
            deep = b"".join(map(pushed, (*range(14), second, top)))
            for program in (deep + bytes([op.PUSH0, op.POP, code]), pushed(top) + bytes([code])):
                assert outcome(quick, program, PLENTY) == outcome(plain, program, PLENTY)
    program = b"".join(map(pushed, range(17))) + bytes([code])
    for gas in range(17 * 2, 17 * 3 + 12):
        assert outcome(quick, program, gas) == outcome(plain, program, gas)


def test_a_jump_goes_to_each_jumpdest_that_is_no_data() -> None:
    code = bytes([op.JUMPDEST, op.PUSH2, op.JUMPDEST, op.JUMPDEST, op.JUMPDEST, op.PUSH1])
    assert jump_targets(code) == {0, 4}
