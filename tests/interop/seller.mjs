// A node that knows the reference alone: it bonds, advertises, bids, answers against vouchers and signs receipts.
// `node seller.mjs NETWORK.JSON [--relayed]`, its key in SELLER_KEY. It prints a line of JSON when it advertises, one for each answer
// whose receipt came back countersigned, and ends when its input ends.
import { readFileSync } from "node:fs";
import { writeAdvertisement } from "./advertisement.mjs";
import { Account } from "./chain.mjs";
import { Digests, isSame, NO_SHARES, price, saltPrefix, signDigest, signerOf, workOf } from "./money.mjs";
import { joinNetwork } from "./peer.mjs";
import { BASE, draw, END, hex, raw, Refusal, render, utf8, ZERO } from "./wire.mjs";

const STAKE_WEI = 100n * 10n ** 18n;
const TERMS = { price_in_wei: "400000000000000", price_out_wei: "600000000000000" };
const CHUNK_TOKENS = 32;
const CONTEXT = 2048;
const SPEED = { ttft_ms: 50, tokens_per_s: 200 };
const BID_VALID_MS = 10_000;
const ADVERTISE_EVERY_MS = 15_000;
const PIECE_TOKENS = 8;
const ANSWER = "The harbour master keeps it, and a stranger who read the reference says so. ".repeat(4).trim();

const network = JSON.parse(readFileSync(process.argv[2], "utf8"));
const digests = new Digests(network);
const account = new Account(network, process.env.SELLER_KEY);
const generation = draw();
const profileHash = draw();
const algorithm = 1;
const bids = new Map(); // request id → true while its terms stand
const lanes = new Map(); // channel id → what is charged, the highest voucher, and the number of receipts
const say = (fields) => console.log(JSON.stringify(fields));

function refuse(code, message) {
  throw new Refusal({ code, message });
}

async function answerCall(stream) {
  const call = await stream.receive();
  if (call.base !== hex(BASE) || call.adapter !== ZERO) refuse("unknown_model", "only the base fake is sold here");
  bids.set(call.id, true);
  setTimeout(() => bids.delete(call.id), BID_VALID_MS).unref();
  await stream.send("bid", {
    id: call.id,
    wallet: account.address,
    signer: account.address,
    generation,
    terms: TERMS,
    profile_hash: profileHash,
    algo_id: algorithm,
    index_root: ZERO,
    chunk_tokens: CHUNK_TOKENS,
    context_max: CONTEXT,
    queue: 0,
    is_warm: true,
    ...SPEED,
    valid_ms: BID_VALID_MS,
  });
  await stream.receive(); // won, or lost
}

async function advertise() {
  advertisement = await writeAdvertisement(peer, account.key, fields);
  await peer.publish(advertisement);
}

async function answerAds(stream, ad) {
  const { t } = await stream.receive();
  if (t === "get") await stream.send("ads", { ads: [ad] });
  else await stream.send("bases", { bases: [{ base: BASE, num_sellers: 1, ad }] });
}

/** Check everything of an `open` that can be checked before any work, and return the lane that pays. */
async function checkOpen(open) {
  const { award, channel_config: config } = open;
  if (!bids.has(open.id)) refuse("unavailable", "there is no bid for this request");
  const offered =
    JSON.stringify([award.terms.price_in_wei, award.terms.price_out_wei]) === JSON.stringify(Object.values(TERMS));
  if (!offered || award.base !== hex(BASE) || open.adapter !== ZERO) refuse("unavailable", "that was not bid");
  if (!isSame(config.node, account.address)) refuse("voucher_refused", "the channel pays another node");
  if (!config.salt.startsWith(hex(saltPrefix(network.network, generation))))
    refuse("old_channel", "open another channel");
  const channel = digests.channel(config);
  const [deposit] = await account.read("PaymentChannels", "channelOf(bytes32)", channel);
  if (!deposit) refuse("payment_required", "the chain knows no deposit of this channel");
  if (!lanes.has(channel)) lanes.set(channel, { channel, config, deposit, charged: 0n, ceiling: 0n, receipts: 0 });
  return lanes.get(channel);
}

function takeVoucher(lane, voucher) {
  if (voucher.channel_id !== lane.channel || voucher.adapter_id !== ZERO)
    refuse("voucher_refused", "it is for another lane");
  const signer = signerOf(digests.voucher(voucher), voucher.signature);
  if (!isSame(signer, lane.config.authorizer)) refuse("bad_signature", `the voucher is signed by ${signer}`);
  const ceiling = BigInt(voucher.max_claimable_wei);
  if (ceiling <= lane.ceiling || ceiling > lane.deposit)
    refuse("voucher_refused", "its ceiling is not new, or over the deposit");
  lane.ceiling = ceiling;
}

async function answerOpen(stream) {
  const open = await stream.receive();
  const lane = await checkOpen(open);
  takeVoucher(lane, open.voucher);
  const tokensIn = utf8(render(open.messages)).length;
  const most = Math.min(open.sampling.max_tokens, open.award.tokens_max);
  const ids = [...utf8(ANSWER), END].slice(0, most);
  const owed = (tokens) => lane.charged + price(TERMS, tokensIn, tokens);
  let text = "";
  for (let sent = 0; sent < ids.length;) {
    const piece = ids.slice(sent, sent + PIECE_TOKENS);
    sent += piece.length;
    while (owed(sent) > lane.ceiling) takeVoucher(lane, (await stream.receive()).voucher);
    const shown = new TextDecoder().decode(new Uint8Array(piece.filter((id) => id !== END)));
    text += shown;
    await stream.send("chunk", { text: shown, ids: piece, tokens: sent, cumulative: String(owed(sent)) });
  }
  const work = workOf(open, profileHash, tokensIn, text, ids);
  const amount = price(TERMS, work.tokens_in, work.tokens_out);
  lane.charged += amount;
  const receipt = {
    channel_id: lane.channel,
    seq: ++lane.receipts,
    issued_at_s: Math.floor(Date.now() / 1000),
    adapter_id: ZERO,
    amount_wei: String(amount),
    cumulative_wei: String(lane.charged),
    algo_id: algorithm,
    shares_hash: NO_SHARES,
    work,
  };
  const digest = digests.receipt(receipt);
  await stream.send("receipt", { receipt, signature: signDigest(digest, account.key), shares: [] });
  let reply = await stream.receive();
  while (reply.t === "voucher") reply = await stream.receive(); // it was on its way when the answer ended
  if (!isSame(signerOf(digest, reply.signature), lane.config.authorizer))
    refuse("bad_signature", "of the countersignature");
  say({ digest: hex(digest), amount_wei: receipt.amount_wei, text, tokens: ids.length });
}

await account.spend("NodeStaking", STAKE_WEI, "bond(uint128)", STAKE_WEI);
const peer = await joinNetwork(network, BASE, { isRelayed: process.argv[3] === "--relayed" });
const fields = {
  wallet: raw(account.address),
  signer: raw(account.address),
  generation: raw(generation),
  base: BASE,
  profile_hash: raw(profileHash),
  algo_id: algorithm,
  context_max: CONTEXT,
  chunk_tokens: CHUNK_TOKENS,
  terms: TERMS,
  warm: [],
  cold: new Uint8Array(),
  num_cold: 0,
  slots_free: 1,
  tokens_per_s: SPEED.tokens_per_s,
  serves: true,
};
let advertisement;
await peer.serve("call", answerCall);
await peer.serve("infer", answerOpen);
await peer.serve("ads", (stream) => answerAds(stream, advertisement));
await advertise();
setInterval(advertise, ADVERTISE_EVERY_MS); // a message may get lost, and nobody waits 10 minutes for the next one here
say({ peer_id: peer.id, addresses: peer.addresses, relays: peer.relays });
process.stdin.resume().on("end", async () => {
  await peer.stop();
  process.exit(0);
});
