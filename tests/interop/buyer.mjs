// A payer that knows the reference alone: it finds a seller, hears its next advertisement, calls for a bid, opens a
// channel, buys an answer with vouchers, checks the receipt and countersigns it. `node buyer.mjs NETWORK.JSON`, its key in
// PAYER_KEY. It prints a line of JSON when it has found the seller, when it has heard it, and when it has bought.
import { readFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { readAdvertisement } from "./advertisement.mjs";
import { Account } from "./chain.mjs";
import { Digests, isSame, NO_SHARES, price, saltPrefix, signDigest, signerOf, workOf } from "./money.mjs";
import { joinNetwork } from "./peer.mjs";
import { discover } from "./rendezvous.mjs";
import { BASE, draw, hex, join, pause, render, utf8, ZERO } from "./wire.mjs";

const QUESTION = [{ role: "user", content: "who keeps the harbour..." }];
const TOKENS_IN = utf8(render(QUESTION)).length;
const TOKENS = 100;
const SAMPLING = { max_tokens: TOKENS, seed: 7, temperature: 0.7, top_p: 1, top_k: 0, min_p: 0, stop: [] };
const DEPOSIT_WEI = 2n * 10n ** 16n;
const CEILING_WEI = String(10n ** 18n);
const WITHDRAW_DELAY_S = 60;
const CLOCK_S = 600;
const ASK_EVERY_MS = 10_500; // a peer answers on `ads` once in 10 s

const network = JSON.parse(readFileSync(process.argv[2], "utf8"));
const digests = new Digests(network);
const payer = new Account(network, process.env.PAYER_KEY);

function require(holds, what) {
  if (!holds) throw new Error(what);
}

/** Find a seller of the base at once: rendezvous names peers, and each tells the advertisements that it knows. */
async function findSeller(peer) {
  for (;;) {
    for (const { id, addresses } of await discover(await peer.dial(network.bootstrap[0]), network.network)) {
      const stream = await peer.open(addresses, "ads").catch(() => null);
      if (stream === null) continue; // it has left, or serves nothing
      await stream.send("get", { base: BASE, digest: new Uint8Array(), bucket_min: 0, count_max: 64 });
      const { ads } = await stream.receive();
      await stream.close();
      const known = await Promise.all(ads.map((ad) => readAdvertisement(network.network, ad)));
      const seller = known.find(({ peer_id: own, serves, base }) => own === id && serves && base === hex(BASE));
      if (seller) return seller;
    }
    await pause(ASK_EVERY_MS);
  }
}

/** Wait until a seller publishes an advertisement on the topic of its base. */
async function hear(peer, seller) {
  for await (const { from, content } of peer.heard()) {
    const heard = await readAdvertisement(network.network, content);
    require(from === heard.peer_id, "each peer publishes its own advertisement");
    if (from === seller.peer_id) return heard;
  }
}

async function call(peer, seller) {
  const id = draw();
  const stream = await peer.open(seller.addresses, "call");
  await stream.send("call", {
    id,
    base: hex(BASE),
    adapter: ZERO,
    tokens_in: TOKENS_IN,
    tokens_max: TOKENS,
    price_in_max: CEILING_WEI,
    price_out_max: CEILING_WEI,
    deadline_ms: 3000,
  });
  const bid = await stream.receive();
  require(bid.t === "bid" && bid.id === id, "the bid is for this call");
  await stream.send("won", { id });
  await stream.close();
  const [maySign] = await payer.read("NodeStaking", "isSigner(address,address)", bid.wallet, bid.signer);
  require(maySign === 1n, "the chain knows the signer");
  return bid;
}

async function openChannel(bid) {
  const config = {
    payer: payer.address,
    authorizer: payer.address,
    node: bid.wallet,
    withdraw_delay_s: WITHDRAW_DELAY_S,
    salt: hex(join(saltPrefix(network.network, bid.generation), randomBytes(16))),
  };
  const open = "open((address,address,address,uint64,bytes32),uint128)";
  await payer.spend("PaymentChannels", DEPOSIT_WEI, open, ...Object.values(config), DEPOSIT_WEI);
  return config;
}

async function buy(peer, seller, bid) {
  const config = await openChannel(bid);
  const voucherFor = (tokens) => {
    const ceiling = String(price(bid.terms, TOKENS_IN, tokens));
    const voucher = { channel_id: digests.channel(config), adapter_id: ZERO, max_claimable_wei: ceiling };
    return { ...voucher, signature: signDigest(digests.voucher(voucher), payer.key) };
  };
  const open = {
    id: bid.id,
    award: { base: hex(BASE), terms: bid.terms, tokens_max: TOKENS },
    adapter: ZERO,
    messages: QUESTION,
    sampling: SAMPLING,
    channel_config: config,
    voucher: voucherFor(bid.chunk_tokens),
    salts: { prompt: draw(), output: draw(), fingerprint: draw() },
    prefix: "",
    last_receipt: null,
  };
  const stream = await peer.open(seller.addresses, "infer");
  await stream.send("open", open);
  let text = "";
  const ids = [];
  let paid = bid.chunk_tokens;
  let vouchers = 1;
  let message;
  while ((message = await stream.receive()).t === "chunk") {
    text += message.text;
    ids.push(...message.ids);
    require(message.tokens === ids.length && ids.length <= paid, "no chunk leaves without cover");
    require(BigInt(message.cumulative) === price(bid.terms, TOKENS_IN, ids.length), "it asks for what it delivered");
    if (paid < TOKENS && paid - ids.length <= bid.chunk_tokens / 2) {
      paid = Math.min(paid + bid.chunk_tokens, TOKENS);
      vouchers += 1;
      await stream.send("voucher", { voucher: voucherFor(paid) });
    }
  }
  const digest = checkReceipt(message, open, bid, text, ids);
  await stream.send("countersign", { signature: signDigest(digest, payer.key) });
  await stream.close();
  return { digest: hex(digest), amount_wei: message.receipt.amount_wei, node: bid.wallet, text, vouchers };
}

/** Check a receipt field by field, and return its digest. */
function checkReceipt({ receipt, signature }, open, bid, text, ids) {
  const work = workOf(open, bid.profile_hash, TOKENS_IN, text, ids);
  const amount = String(price(bid.terms, work.tokens_in, work.tokens_out));
  const digest = digests.receipt(receipt);
  require(isSame(signerOf(digest, signature), bid.signer), "the signer of the bid signed the receipt");
  require(Math.abs(Number(receipt.issued_at_s) - Date.now() / 1000) < CLOCK_S, "the receipt is of now");
  const agreed = {
    channel_id: open.voucher.channel_id,
    seq: 1,
    issued_at_s: receipt.issued_at_s,
    adapter_id: ZERO,
    amount_wei: amount,
    cumulative_wei: amount,
    algo_id: bid.algo_id,
    shares_hash: NO_SHARES,
    work,
  };
  require(isDeepStrictEqual(agreed, {
    ...receipt,
  }), `the receipt says what was delivered: ${JSON.stringify(receipt)}`);
  return digest;
}

const peer = await joinNetwork(network, BASE);
const seller = await findSeller(peer);
console.log(JSON.stringify({ found: seller.peer_id }));
const heard = await hear(peer, seller);
console.log(JSON.stringify({ heard: true }));
const bought = await buy(peer, heard, await call(peer, heard));
console.log(JSON.stringify(bought));
await peer.stop();
process.exit(0);
