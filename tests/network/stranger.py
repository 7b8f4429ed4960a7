"""A payer that knows OpenLedger from its reference alone: docs/reference/wire.md, settlement.md and contracts.md.

`python stranger.py NETWORK.JSON`, its key in `STRANGER_KEY`: it joins, hears what is offered, calls for bids, opens a
channel, buys an answer on credit before that is final, countersigns, and says in JSON what it did. None of the
project's code is used here.
"""

import hashlib
import json
import os
import re
import secrets
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import base58
import msgpack
import trio
from coincurve import PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_abi import decode, encode
from eth_account import Account
from eth_hash.auto import keccak
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

Fields = dict[str, Any]

ZERO = "0x" + "00" * 32
BASE = "0x" + hashlib.sha256(b"fake").hexdigest()
QUESTION = [{"role": "user", "content": "who keeps the harbour..."}]
PROMPT = f"user: {QUESTION[0]['content']}\nassistant:".encode()
TOKENS = 100
SAMPLING: Fields = {"max_tokens": TOKENS, "temperature": 0.7, "top_p": 1, "top_k": 0, "min_p": 0, "stop": []}
CONFIG = "ChannelConfig(address payer,address authorizer,address node,uint64 withdrawDelay,bytes32 salt)"
VOUCHER = "Voucher(bytes32 channelId,bytes32 adapterId,uint128 maxClaimable)"
RECEIPT = (
    "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,"
    "uint32 algoId,bytes32 sharesHash,Work work)"
)
WORK = (
    "Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,"
    "bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)"
)
DEPOSIT_WEI, CEILING_WEI, DEADLINE_S, POLL_S, CLOCK_S = 2 * 10**16, str(10**18), 90, 0.2, 600

raw = bytes.fromhex


def hexed(content: bytes) -> str:
    return "0x" + content.hex()


def drawn() -> str:
    return hexed(secrets.token_bytes(32))


def price(terms: dict[str, str], tokens_in: int, tokens_out: int) -> int:
    return (tokens_in * int(terms["price_in_wei"]) + tokens_out * int(terms["price_out_wei"])) // 1000


# ---- what is signed


def struct(text: str, fields: Fields, *, more: str = "") -> bytes:
    """EIP-712's hash of a struct, of fields named as on the wire; one in it is its hash, and `more` its type."""
    kinds, values = [], []
    for kind, name in map(str.split, text.rpartition("(")[2].rstrip(")").split(",")):
        snake = re.sub("([A-Z])", r"_\1", name).lower()
        value = next(fields[key] for key in (snake, snake + "_wei", snake + "_s") if key in fields)
        if isinstance(value, str) and kind != "address":
            value = raw(value[2:]) if kind == "bytes32" else int(value)
        kinds.append(kind.replace("Work", "bytes32"))
        values.append(value)
    return keccak(keccak((text + more).encode()) + encode(kinds, values))


def typed(network: Fields, hashed: bytes) -> bytes:
    domain = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    words = b"".join(map(keccak, (domain, b"OpenLedgerPayments", b"2")))
    contract = encode(["uint256", "address"], [network["chain_id"], network["contracts"]["PaymentChannels"]])
    return keccak(b"\x19\x01" + keccak(words + contract) + hashed)


def signer_of(digest: bytes, signature: bytes) -> bytes:
    compact = signature[:64] + bytes([signature[64] - 27])
    return keccak(PublicKey.from_signature_and_message(compact, digest, hasher=None).format(compressed=False)[1:])[
        12:
    ]


# ---- what peers say


def open_advertisement(network: str, content: bytes) -> Fields:
    """Check one as the page says, but for its `seq`, and return its body."""
    envelope = msgpack.unpackb(content)
    body: Fields = msgpack.unpackb(envelope["body"])
    assert (len(content) <= 2048, envelope["v"], envelope["t"], body["v"]) == (True, 1, "ad", 2)
    assert body["network"] == network
    assert base58.b58decode(body["peer_id"]) == raw("002408011220") + envelope["public_key"]
    assert body["expires_s"] > time.time() >= body["issued_s"] - 30
    assert 1 <= body["expires_s"] - body["issued_s"] <= 1200
    signed = b"openledger.advertisement/1" + hashlib.sha256(envelope["body"]).digest()
    Ed25519PublicKey.from_public_bytes(envelope["public_key"]).verify(envelope["signature"], signed)
    words = [keccak(text.encode()) for text in ("openledger.binding/1", network, body["peer_id"])]
    assert signer_of(keccak(b"".join(words) + bytes(12) + body["wallet"]), body["binding"]) == body["signer"]
    return body


def is_for_us(body: Fields) -> bool:
    return bool(body["serves"]) and hexed(body["base"]) == BASE


async def send(stream: Any, t: str, **fields: Any) -> None:
    content = msgpack.packb({"v": 1, "t": t, **fields})
    await stream.write(len(content).to_bytes(4, "big") + content)


async def receive(stream: Any) -> Fields:
    message: Fields = msgpack.unpackb(await _exactly(stream, int.from_bytes(await _exactly(stream, 4), "big")))
    assert message["v"] == 1
    assert message["t"] != "error", message
    return message


async def _exactly(stream: Any, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = await stream.read(size - len(content))
        assert piece, "the other side ended the stream"
        content += piece
    return content


class Stranger:
    """One payer on one network."""

    def __init__(self, network: Fields, payer: Any, host: Any) -> None:
        self.network, self.payer, self.host = network, payer, host
        self.id: str = network["network"]

    def sign(self, digest: bytes) -> bytes:
        return bytes(self.payer.unsafe_sign_hash(digest).signature)

    async def open_stream(self, body: Fields, protocol: str, version: int = 1) -> Any:
        info = info_from_p2p_addr(Multiaddr(body["addresses"][0]))
        await self.host.connect(info)
        return await self.host.new_stream(info.peer_id, [TProtocol(f"/openledger/{self.id}/{protocol}/{version}")])

    async def hear(self, subscription: Any) -> Fields:
        """Wait until somebody advertises what we want."""
        while True:
            message = await subscription.get()
            body = open_advertisement(self.id, message.data)
            assert base58.b58encode(message.from_id).decode() == body["peer_id"], "each publishes its own"
            if is_for_us(body):
                return body

    async def ask_ads(self, first: Fields) -> list[Fields]:
        """Advertisements that offer what we want, by the word of one of them, which tells its own too."""
        stream = await self.open_stream(first, "ads", version=2)
        await send(stream, "get", base=raw(BASE[2:]), digest=b"", bucket_min=0, count_max=64)
        found = [open_advertisement(self.id, content) for content in (await receive(stream))["ads"]]
        await stream.close()
        assert first["peer_id"] in {each["peer_id"] for each in found}
        return list(filter(is_for_us, found))

    async def call(self, bodies: list[Fields]) -> Fields:
        """Ask all for a bid, tell each how it went, and return the best with its bidder's advertisement."""
        asked = {"id": drawn(), "base": BASE, "adapter": ZERO, "tokens_in": len(PROMPT), "tokens_max": TOKENS}
        asked |= {"price_in_max": CEILING_WEI, "price_out_max": CEILING_WEI, "deadline_ms": 3000}
        streams = [await self.open_stream(body, "call") for body in bodies]
        for stream in streams:
            await send(stream, "call", **asked)
        bids = [await receive(stream) for stream in streams]
        assert {(bid["t"], bid["id"]) for bid in bids} == {("bid", asked["id"])}
        times = [bid["ttft_ms"] + 1000 * TOKENS / bid["tokens_per_s"] for bid in bids]
        costs = [price(bid["terms"], len(PROMPT), TOKENS) * time for bid, time in zip(bids, times, strict=True)]
        best = costs.index(min(costs))
        for place, stream in enumerate(streams):
            word = {"t": "won"} if place == best else {"t": "lost", "reason": "another bid was better"}
            await send(stream, id=asked["id"], **word)
            await stream.close()
        wallet, signer = bids[best]["wallet"], bids[best]["signer"]
        while not self.may_sign(wallet, signer):  # noqa: ASYNC110  # the chain tells nobody
            await trio.sleep(POLL_S)
        return {**bids[best], "body": bodies[best], "num_bids": len(bids)}

    async def buy(self, bid: Fields) -> Fields:
        """Have the question answered, a voucher ahead of each chunk, and countersign the receipt."""
        config = {"payer": self.payer.address, "authorizer": self.payer.address, "node": bid["wallet"]}
        config |= {"withdraw_delay_s": 60, "salt": self.salt(bid)}
        await self.pay_in(tuple(config.values()))
        channel = typed(self.network, struct(CONFIG, config))
        salts = {name: drawn() for name in ("prompt", "output", "fingerprint")}

        def voucher(tokens: int) -> Fields:
            wei = price(bid["terms"], len(PROMPT), tokens)
            fields = {"channel_id": hexed(channel), "adapter_id": ZERO, "max_claimable_wei": str(wei)}
            return fields | {"signature": self.sign(typed(self.network, struct(VOUCHER, fields)))}

        stream, paid = await self.open_stream(bid["body"], "infer"), bid["chunk_tokens"]
        opening = {"id": bid["id"], "award": {"base": BASE, "terms": bid["terms"], "tokens_max": TOKENS}}
        opening |= {"adapter": ZERO, "messages": QUESTION, "sampling": {**SAMPLING, "seed": 7}, "salts": salts}
        opening |= {"channel_config": config, "voucher": voucher(paid)}
        await send(stream, "open", **opening, prefix="", last_receipt=None)
        text, ids, num_vouchers = "", list[int](), 1
        while (message := await receive(stream))["t"] == "chunk":
            text, ids = text + message["text"], ids + message["ids"]
            assert message["tokens"] == len(ids) <= paid, "no chunk leaves that is not covered"
            assert int(message["cumulative"]) == price(bid["terms"], len(PROMPT), len(ids))
            if paid - len(ids) <= bid["chunk_tokens"] // 2 and paid < TOKENS:
                paid, num_vouchers = min(paid + bid["chunk_tokens"], TOKENS), num_vouchers + 1
                await send(stream, "voucher", voucher=voucher(paid))
        receipt = message["receipt"]
        hashed = struct(RECEIPT, receipt | {"work": struct(WORK, receipt["work"])}, more=WORK)
        digest = typed(self.network, hashed)
        assert signer_of(digest, message["signature"]) == raw(bid["signer"][2:])
        assert abs(receipt["issued_at_s"] - time.time()) < CLOCK_S
        agreed = {"seq": 1, "issued_at_s": receipt["issued_at_s"], "channel_id": hexed(channel)}
        assert receipt == agreed | done(bid, salts, text, ids)
        await send(stream, "countersign", signature=self.sign(digest))
        await stream.close()
        said = {"digest": hexed(digest), "text": text, "amount_wei": receipt["amount_wei"], "vouchers": num_vouchers}
        return {**said, "node": bid["wallet"], "bids": bid["num_bids"]}

    def salt(self, bid: Fields) -> str:
        """Half of it names the network and the generation of the node's ledger, and half is drawn."""
        named = keccak(b"openledger.channel-salt/1" + raw(bid["generation"][2:]) + self.id.encode())
        return hexed(named[:16] + secrets.token_bytes(16))

    def ask_chain(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.network["rpc"][0], body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        assert "result" in answer, answer
        return answer["result"]

    def may_sign(self, wallet: str, signer: str) -> bool:
        asked = {"to": self.network["contracts"]["NodeStaking"]}
        asked["data"] = calldata("isSigner(address,address)", wallet, signer)
        return bool(decode(["bool"], raw(self.ask_chain("eth_call", asked, "latest")[2:]))[0])

    async def pay_in(self, config: tuple[Any, ...]) -> None:
        """Open the channel that the vouchers will name, and wait until a block has it."""
        token, channels = (self.network["contracts"][name] for name in ("OpenToken", "PaymentChannels"))
        function = "open((address,address,address,uint64,bytes32),uint128)"
        steps = [(token, calldata("approve(address,uint256)", channels, DEPOSIT_WEI))]
        steps += [(channels, calldata(function, (*config[:4], raw(config[4][2:])), DEPOSIT_WEI))]
        nonce = int(self.ask_chain("eth_getTransactionCount", self.payer.address, "latest"), 16)
        for place, (to, content) in enumerate(steps):
            what = {"to": to, "data": content, "nonce": nonce + place, "chainId": self.network["chain_id"]}
            what |= {"type": 2, "value": 0, "gas": 300_000, "maxFeePerGas": 10**12, "maxPriorityFeePerGas": 10**9}
            sent = self.ask_chain("eth_sendRawTransaction", hexed(self.payer.sign_transaction(what).raw_transaction))
        while (mined := self.ask_chain("eth_getTransactionReceipt", sent)) is None:  # noqa: ASYNC110  # the chain tells nobody
            await trio.sleep(POLL_S)
        assert int(mined["status"], 16) == 1, mined


def calldata(function: str, *values: Any) -> str:
    return hexed(keccak(function.encode())[:4] + encode([function[function.index("(") :]], [values]))


def done(bid: Fields, salts: dict[str, str], text: str, ids: list[int]) -> Fields:
    """The receipt's fields, by what was agreed on and given."""
    tokens_out = min(len(ids), len(text.encode()))
    amount = str(price(bid["terms"], len(PROMPT), tokens_out))
    asked = {"messages": QUESTION, "sampling": SAMPLING, "seed": "7"}
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    salt = {name: raw(value[2:]) for name, value in salts.items()}
    counts = (len(PROMPT).to_bytes(4, "big"), len(ids).to_bytes(4, "big"))
    known = (raw(bid["id"][2:]), raw(ZERO[2:]), raw(bid["profile_hash"][2:]), *counts, root(ids), salt["fingerprint"])
    work = {"request_id": bid["id"], "profile_hash": bid["profile_hash"], "index_root": ZERO}
    work |= {"tokens_in": len(PROMPT), "tokens_out": tokens_out, "retrieval_hash": ZERO, "signals_hash": ZERO}
    work["prompt_commit"] = hexed(keccak(salt["prompt"] + canonical.encode()))
    work["output_commit"] = hexed(keccak(salt["output"] + text.encode()))
    work["fingerprint"] = hexed(keccak(b"openledger.fingerprint/1" + b"".join(known)))
    no_shares = hexed(keccak(encode(["(bytes32,address,uint32)[]"], [[]])))
    charged = {"adapter_id": ZERO, "amount_wei": amount, "cumulative_wei": amount}
    return {**charged, "algo_id": bid["algo_id"], "shares_hash": no_shares, "work": work}


def root(ids: list[int]) -> bytes:
    level = []
    for place, begin in enumerate(range(0, len(ids), 32)):
        leaf = ids[begin : begin + 32]
        packed = b"".join(token.to_bytes(4, "big") for token in (place, *leaf))
        level.append(keccak(b"\0" + packed[:4] + bytes([len(leaf)]) + packed[4:] + bytes(2)))
    while len(level) > 1:
        odd = level[len(level) & ~1 :]
        level = [keccak(b"\x01" + left + right) for left, right in zip(level[::2], level[1::2], strict=False)] + odd
    return level[0]


@asynccontextmanager
async def joined(network: Fields) -> AsyncIterator[tuple[Any, Any]]:
    """A host that is connected with a bootstrap point, and its subscription to advertisements."""
    host = new_host(key_pair=create_new_key_pair(), disable_identify_address_discovery=True)
    router = GossipSub([PROTOCOL_ID_V11], degree=6, degree_low=4, degree_high=12, heartbeat_interval=1)
    pubsub = Pubsub(host, router, msg_id_constructor=lambda message: hashlib.sha256(message.data).digest())
    here = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    async with host.run(here), background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(f"/openledger/{network['network']}/ads/{BASE[2:10]}/2")
        await host.connect(info_from_p2p_addr(Multiaddr(network["bootstrap"][0])))
        yield host, subscription


async def main(network: Fields, key: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with joined(network) as (host, subscription):
            stranger = Stranger(network, Account.from_key(key), host)
            bodies = await stranger.ask_ads(await stranger.hear(subscription))
            bought = await stranger.buy(await stranger.call(bodies))
    print(json.dumps(bought), flush=True)


if __name__ == "__main__":
    trio.run(main, json.loads(Path(sys.argv[1]).read_text()), os.environ["STRANGER_KEY"])
