"""Requests that tests send: to the network, or to one node with its price."""

from dataclasses import replace

from openledger_node.market.request import NetworkRequest
from openledger_node.payments.payer import Purchase
from openledger_protocol.inference import InferenceRequest, Message, SamplingParams, Tooling
from openledger_protocol.primitives import BASE_ONLY, ZERO_DIGEST, AdapterId, Digest, RequestId, Salt, Wei
from openledger_protocol.wire.inference import Award, Salts

from .terms import BASE, CHUNK_TOKENS, CONFIG, PROFILE, SIGNER, TERMS, price, word


def network_request(
    prompt: tuple[Message, ...] | str = "hello",
    *,
    name: str = "r1",
    model: str = "fake",
    adapter: AdapterId = BASE_ONLY,
    base: Digest = BASE,
    max_tokens: int = 30,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
    json_schema: str | None = None,
    tooling: Tooling | None = None,
) -> NetworkRequest:
    """A request for any node; its id follows from `name`."""
    request = InferenceRequest(
        request_id=RequestId(word(name)),
        model=model,
        prompt=prompt,
        sampling=SamplingParams(
            max_tokens=max_tokens, seed=7, temperature=temperature, stop=stop, json_schema=json_schema
        ),
        tooling=tooling,
    )
    return NetworkRequest(request=request, base=base, adapter=adapter)


def purchase(name: str = "r1", *, prompt: str = "hello", max_tokens: int = 30, **changes: object) -> Purchase:
    """A purchase from the seller `node`; its id follows from `name`."""
    wanted = Purchase(
        request_id=RequestId(word(name)),
        award=Award(base=BASE, terms=TERMS, tokens_max=max_tokens),
        adapter_id=BASE_ONLY,
        index_root=ZERO_DIGEST,
        datanet_ids=(),
        profile_hash=PROFILE,
        algo_id=1,
        messages=prompt,
        sampling=SamplingParams(max_tokens=max_tokens, seed=7, temperature=0),
        channel_config=CONFIG,
        signer=SIGNER,
        salts=Salts(prompt=Salt(word("p")), output=Salt(word("o")), fingerprint=Salt(word("f"))),
        chunk_tokens=CHUNK_TOKENS,
        cost_max_wei=Wei(10**18),
    )
    return replace(wanted, **changes)  # type: ignore[arg-type]  # a test's own words


LONG = purchase(prompt="on...", max_tokens=1000)
FIRST = price(5, CHUNK_TOKENS)
"""The price of LONG's prompt and first chunk."""
