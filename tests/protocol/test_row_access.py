"""A reader's proof for a private Datanet, computed once more from the words of EIP-712."""

from dataclasses import replace

import pytest
from eth_hash.auto import keccak

from openledger_protocol.eip712 import datanets_domain
from openledger_protocol.errors import MalformedError
from openledger_protocol.peers import peer_id_from_public_key, public_key_of
from openledger_protocol.primitives import Address, DatanetId, Digest
from openledger_protocol.row_access import RowAccess, row_access_digest

REGISTRY = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
ANN, BOB = (peer_id_from_public_key(public_key_of(bytes([number]) * 32)) for number in (1, 2))
ACCESS = RowAccess(
    datanet_id=DatanetId("0x" + "aa" * 32),
    rows_root=Digest("0x" + "bb" * 32),
    account=Address("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"),
    reader=ANN,
    holder=BOB,
    challenge=Digest("0x" + "cc" * 32),
)
DOMAIN = datanets_domain(31_337, REGISTRY)


def test_the_digest_is_that_of_typed_data() -> None:
    types = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    domain = keccak(
        keccak(types)
        + keccak(b"OpenLedgerDatanets")
        + keccak(b"2")
        + (31_337).to_bytes(32, "big")
        + bytes.fromhex(REGISTRY[2:]).rjust(32, b"\0")
    )
    struct = keccak(
        keccak(
            b"ReadRows(bytes32 datanetId,bytes32 rowsRoot,address account,string reader,string holder,"
            b"bytes32 challenge)"
        )
        + b"\xaa" * 32
        + b"\xbb" * 32
        + bytes.fromhex(ACCESS.account[2:]).rjust(32, b"\0")
        + keccak(ANN.encode())
        + keccak(BOB.encode())
        + b"\xcc" * 32
    )
    assert row_access_digest(ACCESS, DOMAIN) == keccak(b"\x19\x01" + domain + struct)


@pytest.mark.parametrize(
    "change",
    [
        {"datanet_id": "0x" + "01" * 32},
        {"rows_root": "0x" + "01" * 32},
        {"account": REGISTRY},
        {"reader": BOB},
        {"holder": ANN},
        {"challenge": "0x" + "01" * 32},
    ],
)
def test_each_field_counts(change: dict[str, str]) -> None:
    other = replace(ACCESS, **change)  # type: ignore[arg-type]  # each is a text
    assert row_access_digest(other, DOMAIN) != row_access_digest(ACCESS, DOMAIN)


def test_a_peer_is_named_by_its_id() -> None:
    with pytest.raises(MalformedError):
        row_access_digest(replace(ACCESS, reader="ann"), DOMAIN)
