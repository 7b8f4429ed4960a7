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
            methods = DEEDS[name]
            if (not methods or method in methods) and self._random.random() < rate:
                self.done[name] += 1
                return self._spoil(name, method, params)
        return self._truth(method, params)

    def close(self) -> None:
        """Nothing is open."""

    def _spoil(self, deed: str, method: str, params: list[Any]) -> Any:
        """Answer one request as a deed does; it may ask the true chain first."""
        if deed in ("silent", "failing", "reverting", "forgetting", "missing"):
            return self._refuse(deed, method, params)
        if deed == "behind":
            return self._be_behind(method, params)
        if deed == "final":  # it calls all final
            return self._truth(method, ["latest" if params[0] == "finalized" else params[0], *params[1:]])
        if deed == "fees":  # nothing at all, or a spike
            wei = hex(self._random.choice([0, 10**11, 10**13]))
            return wei if method == TIP else {"baseFeePerGas": [wei, wei]}
        found = self._truth(method, params)
        return found and self._lie(deed, found, params)

    def _refuse(self, deed: str, method: str, params: list[Any]) -> Any:
        match deed:
            case "failing":
                raise RpcError(SERVER_ERROR, "internal error")
            case "reverting":
                raise RpcError(3, "execution reverted", "0x")
            case "forgetting":  # it takes a transaction, and loses it
                return transaction_hash(parse_bytes(params[0]))
            case "missing":
                return None
        if method == SEND and self._random.random() < 0.5:  # what was sent may have arrived
            with suppress(RpcError):
                self._truth(method, params)
        raise ChainError("the bad endpoint does not answer")

    def _be_behind(self, method: str, params: list[Any]) -> Any:
        """Answer as an older head does."""
        truth = self._truth
        head = parse_quantity(truth("eth_blockNumber", [])) - self._random.randint(1, BEHIND_MAX)
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

    def _lie(self, deed: str, found: Any, params: list[Any]) -> Any:
        """Tell something else than was found."""
        choice = self._random.choice
        match deed:
            case "nonce":
                return hex(max(0, parse_quantity(found) + choice([-2, -1, 1, 2, 5, 30])))
            case "gas":
                return hex(int(parse_quantity(found) * choice([0, 0.1, 0.5, 100])))
            case "status":
                return {**found, "status": hex(1 - parse_quantity(found["status"]))}
            case "hash":
                return {**found, "hash": f"0x{self._random.getrandbits(256):064x}"}
            case "time":
                return {
                    **found,
                    "timestamp": hex(parse_quantity(found["timestamp"]) + choice([-1_000, 1_000, 10**8])),
                }
            case "number":  # of a head far ahead, or of one that was long ago
                more = choice([-50, 1, 1_000]) if params[0] == "latest" else 0
                return {**found, "number": hex(max(0, parse_quantity(found["number"]) + more))}
            case "logs":
                return self._other_logs(list(found))
        return self._another_word(bytearray(parse_bytes(found)))

    def _other_logs(self, found: list[Any]) -> list[Any]:
        """Leave one out, tell one twice, or tell none."""
        if not found or self._random.random() < 0.3:
            return []
        chosen = self._random.randrange(len(found))
        return found[:chosen] + found[chosen + 1 :] if self._random.random() < 0.5 else [*found, found[chosen]]

    def _another_word(self, found: bytearray) -> str:
        """Change one word of a call's result, or tell no result at all."""
        if not found or self._random.random() < 0.2:
            return "0x"
        place = 32 * self._random.randrange(len(found) // 32)
        word = int.from_bytes(found[place : place + 32], "big")
        found[place : place + 32] = self._random.choice([0, word + 1, word // 2]).to_bytes(32, "big")
        return hex_bytes(bytes(found))


def _number(name: str, head: int) -> int:
    return {"latest": head, "finalized": max(0, head - FINALITY_DEPTH)}.get(name) or parse_quantity(name)


DEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "silent": (),
    "failing": (),
    "reverting": (CALL, GAS),
    "forgetting": (SEND,),
    "missing": (RECEIPT, FIND),
    "behind": (BLOCK, CALL, GAS, NONCE, RECEIPT, LOGS),
    "nonce": (NONCE,),
    "status": (RECEIPT,),
    "logs": (LOGS,),
    "hash": (BLOCK,),
    "time": (BLOCK,),
    "number": (BLOCK,),
    "words": (CALL,),
    "gas": (GAS,),
    "final": (BLOCK,),
    "fees": (FEES, TIP),
}
"""Each with the methods that it answers; none: all."""
