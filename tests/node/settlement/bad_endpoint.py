"""An endpoint that misbehaves: it is silent, behind, and lies in every way that a JSON-RPC endpoint can."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any, Final

from openledger_node.chain.encoding import transaction_hash
from openledger_node.chain.rpc import SERVER_ERROR, RpcError, hex_bytes, parse_bytes, parse_quantity
from openledger_node.errors import ChainError

Ask = Callable[[str, list[Any]], Any]
Deed = Callable[[Ask, Random, str, list[Any]], Any]
"""Answers one request in its own way; it may ask the true chain first."""

BLOCK, CALL, GAS = "eth_getBlockByNumber", "eth_call", "eth_estimateGas"
NONCE, SEND, RECEIPT, FIND = (
    "eth_getTransactionCount",
    "eth_sendRawTransaction",
    "eth_getTransactionReceipt",
    "eth_getTransactionByHash",
)
LOGS, FEES, TIP = "eth_getLogs", "eth_feeHistory", "eth_maxPriorityFeePerGas"
FINALITY_DEPTH: Final = 2  # of the simulated chain
BEHIND_MAX: Final = 8


class BadEndpoint:
    """Answers truly, or as a deed does, with the rate of that deed."""

    name = "the bad endpoint"

    def __init__(self, truth: Ask, random: Random) -> None:
        self._truth = truth
        self._random = random
        self.rates: Mapping[str, float] = {}  # deed → its share of the answers that it can spoil; empty: honest
        self.done: Counter[str] = Counter()
        self.sent: list[bytes] = []  # all signed bytes that it was given

    def ask(self, method: str, params: list[Any]) -> Any:
        """Answer one request."""
        if method == SEND:
            self.sent.append(parse_bytes(params[0]))
        for name, rate in self.rates.items():
            methods, deed = DEEDS[name]
            if (not methods or method in methods) and self._random.random() < rate:
                self.done[name] += 1
                return deed(self._truth, self._random, method, params)
        return self._truth(method, params)

    def close(self) -> None:
        """Nothing is open."""


# ---- silence and refusals


def _be_silent(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    """Give no answer, though what was sent may have arrived."""
    if method == SEND and random.random() < 0.5:
        with suppress(RpcError):
            truth(method, params)
    raise ChainError("the bad endpoint does not answer")


def _fail(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    raise RpcError(SERVER_ERROR, "internal error")


def _revert(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    raise RpcError(3, "execution reverted", "0x")


def _forget(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    """Take a transaction, and lose it."""
    return transaction_hash(parse_bytes(params[0]))


def _miss(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    return None


# ---- answers of an older head


def _be_behind(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    head = parse_quantity(truth("eth_blockNumber", [])) - random.randint(1, BEHIND_MAX)
    match method:
        case "eth_getBlockByNumber":
            number = _number(params[0], head)
            return truth(method, [hex(number), *params[1:]]) if number <= head else None
        case "eth_getTransactionReceipt":
            found = truth(method, params)
            return found if found and parse_quantity(found["blockNumber"]) <= head else None
        case "eth_getLogs":
            first, last = (_number(params[0][key], head) for key in ("fromBlock", "toBlock"))
            return truth(method, [{**params[0], "toBlock": hex(min(last, head))}]) if first <= head else []
    return truth(method, [params[0], hex(min(head, _number((params[1:] or ["latest"])[0], head)))])


def _number(name: str, head: int) -> int:
    return {"latest": head, "finalized": max(0, head - FINALITY_DEPTH)}.get(name) or parse_quantity(name)


# ---- lies


def _tell_another_nonce(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    return hex(max(0, parse_quantity(truth(method, params)) + random.choice([-2, -1, 1, 2, 5, 30])))


def _tell_another_status(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    found = truth(method, params)
    return found and {**found, "status": hex(1 - parse_quantity(found["status"]))}


def _tell_other_logs(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    """Leave one out, tell one twice, or tell none."""
    found = list(truth(method, params))
    if not found or random.random() < 0.3:
        return []
    chosen = random.randrange(len(found))
    return found[:chosen] + found[chosen + 1 :] if random.random() < 0.5 else [*found, found[chosen]]


def _tell_another_hash(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    found = truth(method, params)
    return found and {**found, "hash": f"0x{random.getrandbits(256):064x}"}


def _tell_another_word(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    """Change one word of a call's result, or tell no result at all."""
    found = bytearray(parse_bytes(truth(method, params)))
    if not found or random.random() < 0.2:
        return "0x"
    place = 32 * random.randrange(len(found) // 32)
    word = int.from_bytes(found[place : place + 32], "big")
    found[place : place + 32] = random.choice([0, word + 1, word // 2]).to_bytes(32, "big")
    return hex_bytes(bytes(found))


def _tell_other_gas(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    return hex(int(parse_quantity(truth(method, params)) * random.choice([0, 0.1, 0.5, 100])))


def _tell_another_time(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    found = truth(method, params)
    seconds = random.choice([-1_000, 1_000, 10**8])
    return found and {**found, "timestamp": hex(parse_quantity(found["timestamp"]) + seconds)}


def _tell_another_number(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    """Tell of a head far ahead, or of one that was long ago."""
    found = truth(method, params)
    more = random.choice([-50, 1, 1_000]) if params[0] == "latest" else 0
    return found and {**found, "number": hex(max(0, parse_quantity(found["number"]) + more))}


def _call_all_final(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    return truth(method, ["latest" if params[0] == "finalized" else params[0], *params[1:]])


def _tell_other_fees(truth: Ask, random: Random, method: str, params: list[Any]) -> Any:
    """Nothing at all, or a spike."""
    wei = hex(random.choice([0, 10**11, 10**13]))
    return wei if method == TIP else {"baseFeePerGas": [wei, wei]}


DEEDS: Final[Mapping[str, tuple[tuple[str, ...], Deed]]] = {
    "silent": ((), _be_silent),
    "failing": ((), _fail),
    "reverting": ((CALL, GAS), _revert),
    "forgetting": ((SEND,), _forget),
    "missing": ((RECEIPT, FIND), _miss),
    "behind": ((BLOCK, CALL, GAS, NONCE, RECEIPT, LOGS), _be_behind),
    "nonce": ((NONCE,), _tell_another_nonce),
    "status": ((RECEIPT,), _tell_another_status),
    "logs": ((LOGS,), _tell_other_logs),
    "hash": ((BLOCK,), _tell_another_hash),
    "time": ((BLOCK,), _tell_another_time),
    "number": ((BLOCK,), _tell_another_number),
    "words": ((CALL,), _tell_another_word),
    "gas": ((GAS,), _tell_other_gas),
    "final": ((BLOCK,), _call_all_final),
    "fees": ((FEES, TIP), _tell_other_fees),
}
"""Each with the methods that it answers; none: all."""
