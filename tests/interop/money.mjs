// What payers and nodes sign, and what a receipt says of an answer, as docs/reference/settlement.md has it.
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { addr } from "micro-eth-signer";
import { hex, join, keccak, raw, u32, utf8, ZERO } from "./wire.mjs";

const CONFIG = "ChannelConfig(address payer,address authorizer,address node,uint64 withdrawDelay,bytes32 salt)";
const VOUCHER = "Voucher(bytes32 channelId,bytes32 adapterId,uint128 maxClaimable)";
const WORK =
  "Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut," +
  "bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)";
const RECEIPT =
  "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative," +
  "uint32 algoId,bytes32 sharesHash,Work work)";
const LEAF_IDS = 32;

// ---- keys and signatures

export const addressOf = (key) => addr.fromPrivateKey(key);

/** 65 bytes r ‖ s ‖ v over 32 bytes, with the lower s and v 27 or 28. */
export function signDigest(digest, key) {
  const [recovery, ...rest] = secp256k1.sign(digest, raw(key), { prehash: false, format: "recovered" });
  return join(new Uint8Array(rest), new Uint8Array([27 + recovery]));
}

/** The address whose key signed a digest. */
export function signerOf(digest, signature) {
  const recovered = join(new Uint8Array([signature[64] - 27]), signature.subarray(0, 64));
  return addr.fromPublicKey(secp256k1.recoverPublicKey(recovered, digest, { prehash: false }));
}

/** Addresses are equal in any case, since the checksum is optional. */
export const isSame = (one, other) => one.toLowerCase() === other.toLowerCase();

/** One 32-byte word of the chain: an address, a hash or a number that may be decimal text. */
export function word(value) {
  const digits = /^0x/.test(value) ? value.slice(2) : BigInt(value).toString(16);
  return raw("0x" + digits.padStart(64, "0"));
}

// ---- EIP-712

/** The hash of a struct, from fields that are named as on the wire. */
function hashStruct(type, fields, nestedType = "") {
  const names = type
    .slice(type.indexOf("(") + 1, -1)
    .split(",")
    .map((field) => field.split(" ")[1]);
  const words = names.map((name) => {
    const snake = name.replace(/[A-Z]/g, (letter) => "_" + letter.toLowerCase());
    return word(fields[snake] ?? fields[snake + "_wei"] ?? fields[snake + "_s"]);
  });
  return keccak(keccak(utf8(type + nestedType)), ...words);
}

/** The digests that are signed on one network. */
export class Digests {
  #domain;

  constructor({ chain_id: chainId, contracts }) {
    const texts = [
      "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
      "OpenLedgerPayments",
      "2",
    ];
    this.#domain = keccak(...texts.map((text) => keccak(utf8(text))), word(chainId), word(contracts.PaymentChannels));
  }

  /** The id of a channel is the digest of its config. */
  channel(config) {
    return hex(this.#typed(hashStruct(CONFIG, config)));
  }

  voucher(voucher) {
    return this.#typed(hashStruct(VOUCHER, voucher));
  }

  receipt(receipt) {
    const work = hex(hashStruct(WORK, receipt.work));
    return this.#typed(hashStruct(RECEIPT, { ...receipt, work }, WORK));
  }

  #typed(hash) {
    return keccak(new Uint8Array([0x19, 0x01]), this.#domain, hash);
  }
}

// ---- prices and channels

export const price = (terms, tokensIn, tokensOut) =>
  (BigInt(tokensIn) * BigInt(terms.price_in_wei) + BigInt(tokensOut) * BigInt(terms.price_out_wei)) / 1000n;

/** The first half of a channel's salt: it names the network and the generation of the node's ledger. */
export const saltPrefix = (network, generation) =>
  keccak(utf8("openledger.channel-salt/1"), raw(generation), utf8(network)).subarray(0, 16);

// ---- commitments

/** Canonical JSON (RFC 8785) of plain values. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const entries = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${entries.join(",")}}`;
}

function rootOf(ids) {
  let level = [];
  for (let begin = 0; begin < ids.length; begin += LEAF_IDS) {
    const leaf = ids.slice(begin, begin + LEAF_IDS);
    level.push(
      keccak(
        new Uint8Array(1),
        u32(level.length),
        new Uint8Array([leaf.length]),
        ...leaf.map(u32),
        new Uint8Array(2),
      ),
    );
  }
  while (level.length > 1) {
    const above = [];
    for (let left = 0; left + 1 < level.length; left += 2)
      above.push(keccak(new Uint8Array([1]), level[left], level[left + 1]));
    if (level.length % 2 === 1) above.push(level.at(-1));
    level = above;
  }
  return level[0];
}

/** The work of a receipt: of an `open`, the profile of the bid, the tokens of the prompt, and the answer. */
export function workOf(open, profileHash, tokensIn, text, ids) {
  const { seed, ...sampling } = open.sampling;
  const asked = canonical({ messages: open.messages, sampling, seed: String(seed) });
  const salts = Object.fromEntries(Object.entries(open.salts).map(([name, salt]) => [name, raw(salt)]));
  const known = [raw(open.id), raw(open.adapter), raw(profileHash), u32(tokensIn), u32(ids.length), rootOf(ids)];
  return {
    request_id: open.id,
    profile_hash: profileHash,
    index_root: ZERO,
    tokens_in: tokensIn,
    tokens_out: Math.min(ids.length, utf8(text).length),
    prompt_commit: hex(keccak(salts.prompt, utf8(asked))),
    output_commit: hex(keccak(salts.output, utf8(text))),
    retrieval_hash: ZERO,
    signals_hash: ZERO,
    fingerprint: hex(keccak(utf8("openledger.fingerprint/1"), ...known, salts.fingerprint)),
  };
}

/** keccak(abi.encode(Share[])) of no shares, as an answer of the base alone has it. */
export const NO_SHARES = hex(keccak(word(32), word(0)));
