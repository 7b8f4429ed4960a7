// Advertisements: one is written as wire.md says, and each that is heard is checked in the order of its table.
import { publicKeyFromRaw } from "@libp2p/crypto/keys";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { equals } from "uint8arrays";
import { hex, join, keccak, pack, raw, sha256, unpack, utf8 } from "./wire.mjs";
import { signDigest, signerOf } from "./money.mjs";

const BYTES_MAX = 2048;
const LIFE_S = 1200;
const CLOCK_S = 30;

const nowS = () => Math.floor(Date.now() / 1000);
const toSign = (body) => join(utf8("openledger.advertisement/1"), sha256(body));

/** What a wallet's signer signs so that a peer may speak for the wallet. */
function bindingDigest(network, peerId, wallet) {
  const words = ["openledger.binding/1", network, peerId].map((text) => keccak(utf8(text)));
  return keccak(...words, new Uint8Array(12), wallet);
}

/** The bytes of an advertisement; `fields` are those of the body that this peer chooses. */
export async function writeAdvertisement(peer, signingKey, fields) {
  const issued = nowS();
  const body = pack({
    v: 2,
    network: peer.network,
    peer_id: peer.id,
    addresses: peer.addresses,
    ...(peer.relays.length > 0 && { relays: peer.relays }),
    ...fields,
    seq: BigInt(Date.now()) * 1_000_000n,
    issued_s: issued,
    expires_s: issued + LIFE_S,
    binding: signDigest(bindingDigest(peer.network, peer.id, fields.wallet), signingKey),
  });
  const signature = await peer.key.sign(toSign(body));
  return pack({ v: 1, t: "ad", body, public_key: peer.key.publicKey.raw, signature });
}

/** The body of an advertisement that holds all but its `seq`, and its wallet and signer as text. */
export async function readAdvertisement(network, content) {
  const require = (holds, what) => {
    if (!holds) throw new Error(`an advertisement ${what}`);
  };
  require(content.length <= BYTES_MAX, "is too long");
  const { v, t, body: bytes, public_key: key, signature } = unpack(content);
  require(v === 1 && t === "ad", "has no envelope");
  const body = unpack(bytes);
  require(body.v === 2, `has a body of version ${body.v}`);
  require(body.network === network, "is of another network");
  const publicKey = publicKeyFromRaw(key);
  require(peerIdFromPublicKey(publicKey).toString() === body.peer_id, "names another peer");
  require(nowS() < body.expires_s && body.issued_s <= nowS() + CLOCK_S, "is stale");
  require(body.expires_s > body.issued_s && body.expires_s - body.issued_s <= LIFE_S, "lasts too long");
  require(await publicKey.verify(toSign(bytes), signature), "is not signed by its peer");
  const signer = signerOf(bindingDigest(network, body.peer_id, body.wallet), body.binding);
  require(equals(raw(signer), body.signer), "is not bound to its wallet");
  return { ...body, wallet: hex(body.wallet), signer: hex(body.signer), base: hex(body.base) };
}
