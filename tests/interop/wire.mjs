// Frames, names and hashes, as docs/reference/wire.md has them.
import { createHash, randomBytes } from "node:crypto";
import { decode, encode } from "@msgpack/msgpack";
import { keccak_256 } from "@noble/hashes/sha3.js";

export const ZERO = "0x" + "00".repeat(32);
export const utf8 = (text) => new TextEncoder().encode(text);
export const join = (...parts) => new Uint8Array(Buffer.concat(parts));
export const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");
export const raw = (text) => new Uint8Array(Buffer.from(text.slice(2), "hex"));
export const draw = () => hex(randomBytes(32));
export const sha256 = (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest());
export const keccak = (...parts) => keccak_256(join(...parts));
export const u32 = (number) => new Uint8Array([24, 16, 8, 0].map((shift) => (number >>> shift) & 255));
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// 64-bit integers are BigInts, since a seed or a `seq` does not fit into a number.
export const pack = (map) => encode(map, { useBigInt64: true });
export const unpack = (bytes) => decode(bytes, { useBigInt64: true });

// The base for tests: a token is a byte of UTF-8, and 256 ends an answer.
export const BASE = sha256(utf8("fake"));
export const END = 256;
export const render = (messages) =>
  messages.map(({ role, content }) => `${role}: ${content}\n`).join("") + "assistant:";

const ADS_VERSION = 2;
export const adsTopic = (network, base) => `/openledger/${network}/ads/${hex(base).slice(2, 10)}/${ADS_VERSION}`;
export const protocol = (network, name) => `/openledger/${network}/${name}/${name === "ads" ? ADS_VERSION : 1}`;

/** What went wrong at the other side: the code and text of its `error`. */
export class Refusal extends Error {
  constructor({ code, message }) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

/** Messages over one stream: a 4-byte big-endian length, then a msgpack map with `v` and `t`. */
export class Messages {
  #stream;
  #pieces;
  #buffer = new Uint8Array();

  constructor(stream) {
    this.#stream = stream;
    this.#pieces = stream[Symbol.asyncIterator]();
  }

  async send(t, fields) {
    const body = pack({ v: 1, t, ...fields });
    if (!this.#stream.send(join(u32(body.length), body))) await this.#stream.onDrain();
  }

  /** The next message. Throws a Refusal for an `error`, and an Error if the stream ends. */
  async receive() {
    for (;;) {
      const { length } = await this.#read(4).then((head) => ({ length: Buffer.from(head).readUInt32BE() }));
      const message = unpack(await this.#read(length));
      if (message.v !== 1) throw new Error(`a message of version ${message.v}`);
      if (message.t === "error") throw new Refusal(message);
      if (message.t !== "ping") return message;
    }
  }

  async close() {
    await this.#stream.close();
  }

  async #read(size) {
    while (this.#buffer.length < size) {
      const { value, done } = await this.#pieces.next();
      if (done) throw new Error("the other side ended the stream");
      this.#buffer = join(this.#buffer, value.subarray());
    }
    const found = this.#buffer.subarray(0, size);
    this.#buffer = this.#buffer.subarray(size);
    return found;
  }
}
