"""Reports are signed as a wallet would sign them: the digest is that of another implementation of EIP-712."""

from dataclasses import fields, replace

from eth_account.messages import _hash_eip191_message, encode_typed_data
from support.signed import NODE, PAYER, account, digest

from openledger_protocol.primitives import Digest, Wei
from openledger_protocol.reports import RuleReplay, reports_domain, rule_replay_digest

PARAMS = account(0x77)
REPORT = RuleReplay(
    node=NODE,
    first_epoch=10,
    last_epoch=23,
    algo_was=1,
    algo_would=5,
    gross_wei=Wei(2**127),
    probes_wei=Wei(10**18),
    kept_wei=Wei(7),
    content_hash=Digest(digest("c")),
)
TYPES = {
    "node": "address",
    "firstEpoch": "uint64",
    "lastEpoch": "uint64",
    "algoWas": "uint32",
    "algoWould": "uint32",
    "gross": "uint128",
    "probesGross": "uint128",
    "keptGross": "uint128",
    "contentHash": "bytes32",
}


def test_the_digest_is_that_of_a_wallet() -> None:
    domain = reports_domain(1337, PARAMS)
    values = [getattr(REPORT, field.name) for field in fields(REPORT)]
    message = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "RuleReplay": [{"name": name, "type": kind} for name, kind in TYPES.items()],
        },
        "primaryType": "RuleReplay",
        "domain": {"name": "OpenLedgerReports", "version": "2", "chainId": 1337, "verifyingContract": PARAMS},
        "message": dict(zip(TYPES, values, strict=True)),
    }
    assert rule_replay_digest(REPORT, domain) == _hash_eip191_message(encode_typed_data(full_message=message))


def test_every_field_and_the_network_are_signed() -> None:
    domain = reports_domain(1337, PARAMS)
    others = [
        replace(REPORT, **{name: value})
        for name, value in {
            "node": PAYER,
            "content_hash": Digest(digest("d")),
            **dict.fromkeys(("first_epoch", "last_epoch", "algo_was", "algo_would"), 3),
            **{name: Wei(3) for name in ("gross_wei", "probes_wei", "kept_wei")},
        }.items()
    ]
    digests = {rule_replay_digest(report, domain) for report in [REPORT, *others]}
    digests |= {rule_replay_digest(REPORT, reports_domain(*other)) for other in ((1, PARAMS), (1337, PAYER))}
    assert len(digests) == 1 + len(fields(REPORT)) + 2
