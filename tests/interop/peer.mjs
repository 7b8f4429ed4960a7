// A peer of js-libp2p with what wire.md asks for: TCP, Noise, Yamux, identify, ping and gossipsub 1.1.
import "./old_node.mjs";
import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { circuitRelayTransport } from "@libp2p/circuit-relay-v2";
import { gossipsub } from "@libp2p/gossipsub";
import { identify } from "@libp2p/identify";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { adsTopic, join, Messages, pause, protocol, sha256, utf8 } from "./wire.mjs";

const DIAL_MS = 10_000;
const LOOPBACK = "/ip4/127.0.0.1/tcp/0";

/** The id under which all peers of a network know a gossip message. */
const messageId = ({ topic, from, data }) =>
  sha256(join(utf8(topic), new Uint8Array(1), from.toMultihash().bytes, data));

const CIRCUIT = "/p2p-circuit";

/**
 * Join a network at its bootstrap node. A peer listens on loopback, or if `isRelayed` nowhere: then it takes a place at the
 * bootstrap node's relay, and its connections over that are limited.
 */
export async function joinNetwork({ network, bootstrap }, base, { isRelayed = false } = {}) {
  const key = await generateKeyPair("Ed25519");
  const node = await createLibp2p({
    privateKey: key,
    addresses: { listen: [isRelayed ? bootstrap[0] + CIRCUIT : LOOPBACK] },
    transports: [tcp(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false }, // the library dials no loopback address by itself
    services: {
      identify: identify(),
      ping: ping(),
      gossip: gossipsub({ msgIdFn: messageId, allowPublishToZeroTopicPeers: true, heartbeatInterval: 1000 }),
    },
  });
  const peer = new Peer(node, key, network, adsTopic(network, base));
  node.services.gossip.subscribe(peer.topic);
  await peer.dial(bootstrap[0]);
  while (isRelayed && peer.relays.length === 0) await pause(100);
  return peer;
}

/** One peer on one network. */
export class Peer {
  constructor(node, key, network, topic) {
    Object.assign(this, { node, key, network, topic });
  }

  get id() {
    return this.node.peerId.toString();
  }

  /** Its own addresses, each with its peer id at the end. */
  get addresses() {
    const all = this.node.getMultiaddrs().map(String);
    return all.filter((each) => !each.includes(CIRCUIT));
  }

  /** The addresses of relays at which it has a place. */
  get relays() {
    const all = this.node.getMultiaddrs().map(String);
    return all.filter((each) => each.includes(CIRCUIT)).map((each) => each.split(CIRCUIT)[0]);
  }

  async dial(address) {
    return await this.node.dial(multiaddr(address), { signal: AbortSignal.timeout(DIAL_MS) });
  }

  /** Open a stream to the peer at one of these addresses. */
  async open(addresses, name) {
    const connection = await this.dial(addresses[0]);
    const signal = AbortSignal.timeout(DIAL_MS);
    return new Messages(await connection.newStream(protocol(this.network, name), { signal }));
  }

  /** Serve streams; a Refusal that is thrown goes to the other side as `error`. */
  async serve(name, handler) {
    const serveStream = async (stream) => {
      const messages = new Messages(stream);
      try {
        await handler(messages);
      } catch (error) {
        console.error(`${name}: ${error.stack}`);
        await messages.send("error", { code: error.code ?? "malformed", message: error.message, retryable: false });
      }
      await messages.close();
    };
    await this.node.handle(protocol(this.network, name), serveStream, { runOnLimitedConnection: true });
  }

  /** Advertisements from gossip, one after another, as bytes with the peer id of their origin. */
  async *heard() {
    const waiting = [];
    let wake = () => {};
    this.node.services.gossip.addEventListener("message", ({ detail }) => {
      if (detail.topic === this.topic) waiting.push({ from: detail.from.toString(), content: detail.data });
      wake();
    });
    for (;;) {
      while (waiting.length > 0) yield waiting.shift();
      await new Promise((resolve) => {
        wake = resolve;
      });
    }
  }

  /** Publish to the peers that follow the topic, once there are any. */
  async publish(content) {
    while (this.node.services.gossip.getSubscribers(this.topic).length === 0) await pause(100);
    await this.node.services.gossip.publish(this.topic, content);
  }

  async stop() {
    await Promise.race([this.node.stop(), pause(3000)]);
  }
}
