// The question of rendezvous that a peer asks to find others: one message of protobuf, with its length in front.
import { multiaddr } from "@multiformats/multiaddr";
import { peerIdFromMultihash } from "@libp2p/peer-id";
import { decode as decodeMultihash } from "multiformats/hashes/digest";
import { join, utf8 } from "./wire.mjs";

const PROTOCOL = "/rendezvous/1.0.0";
const DISCOVER = 3;

/** Ask a bootstrap node for peers of a network: an array of `{ id, addresses }`. */
export async function discover(connection, network) {
  const stream = await connection.newStream(PROTOCOL);
  const body = join(varintField(1, DISCOVER), bytesField(5, bytesField(1, utf8(network))));
  stream.send(join(varint(body.length), body));
  let answer = new Uint8Array();
  for await (const piece of stream) {
    answer = join(answer, piece.subarray());
    const [size, begin] = readVarint(answer, 0);
    if (answer.length < begin + size) continue;
    await stream.close();
    const [response] = read(answer.subarray(begin, begin + size), 6);
    return read(response, 1).map((registration) => {
      const [peer] = read(registration, 2);
      const id = peerIdFromMultihash(decodeMultihash(read(peer, 1)[0])).toString();
      return { id, addresses: read(peer, 2).map((each) => `${multiaddr(each)}/p2p/${id}`) };
    });
  }
  throw new Error("the bootstrap node did not answer");
}

// ---- protobuf: numbers and bytes

function varint(number) {
  const bytes = [];
  for (; number > 127; number >>= 7) bytes.push((number & 127) | 128);
  return new Uint8Array([...bytes, number]);
}

const varintField = (number, value) => join(varint(number << 3), varint(value));
const bytesField = (number, bytes) => join(varint((number << 3) | 2), varint(bytes.length), bytes);

/** A number, and the place behind it. Numbers above 2^53 lose digits; none is needed here. */
function readVarint(bytes, place) {
  let number = 0;
  let factor = 1;
  while (bytes[place] > 127) {
    number += (bytes[place++] & 127) * factor;
    factor *= 128;
  }
  return [number + bytes[place] * factor, place + 1];
}

/** The values of a field that holds bytes. */
function read(message, number) {
  const found = [];
  for (let place = 0; place < message.length;) {
    let tag, size;
    [tag, place] = readVarint(message, place);
    [size, place] = readVarint(message, place);
    if ((tag & 7) === 0) continue;
    if (tag >> 3 === number) found.push(message.subarray(place, place + size));
    place += size;
  }
  return found;
}
