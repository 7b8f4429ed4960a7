// Peers: who this node talks to, how well, and how others reach it.
import { get, Refused } from "../lib/api.js";
import { cliLine, copy } from "../lib/cli.js";
import { h, part } from "../lib/dom.js";
import { latest, on, poll } from "../lib/events.js";
import { reachOf } from "../lib/facts.js";
import { count, id, NONE, price, short, time } from "../lib/format.js";
import { button, chip, emptyState, facts, heading, note, panel, strip, tile } from "../lib/parts.js";
import { table } from "../lib/table.js";

export const title = "Peers";

const SHOWN = 12, PRICE_EVERY_MS = 10e3;

export function mount(root) {
  const empty = part(), tiles = part(), list = part(), sellers = part(), found = part({ class: "w6" }), market = part({ class: "w6" });
  const held = { price: null, filter: "", all: false };
  root.append(heading("Peers", "Who this node talks to, how well, and how others reach it.", "peers list"), h("div", { class: "grid" }, empty, tiles, list, sellers, found, market));
  const draw = () => {
    const status = latest.state, peers = latest.peers ?? null;
    if (!status) return;
    const none = whyNone(status, peers);
    empty.show(none, (why) => why && emptyState(why));
    tiles.show({ peers: peers?.peers ?? null, n: status.peers, reach: reachOf(status), market: held.price?.market ?? [], base: status.base }, drawTiles);
    list.show(peers && { peers: peers.peers, filter: held.filter, all: held.all }, (facts) => facts && facts.peers.length > 0 && drawList(facts, held, draw));
    sellers.show(peers && peers.peers.filter((peer) => peer.serves && peer.seller), (some) => some?.length > 0 && drawSellers(some));
    found.show({ peers, network: status.network, reach: status.reach ?? null, says: reachOf(status).says, alone: !peers }, drawFound);
    market.show({ prices: held.price, peers: peers?.peers ?? [], base: status.base }, drawMarket);
  };
  const readPrice = async () => {
    try {
      held.price = await get("/price");
    } catch (error) {
      if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error; // gone: the frame says so
    }
    draw();
  };
  const stops = [on("state", draw), on("peers", draw)], timer = setInterval(readPrice, PRICE_EVERY_MS);
  readPrice();
  return () => { clearInterval(timer); stops.forEach((stop) => stop()); };
}

const check = (status, name) => (status.checks ?? []).find((each) => each.check === name) ?? null;

// Why there is nobody, and the way to somebody; null where there is.
function whyNone(status, peers) {
  if (status.network === "local") return { where: "Peers · this machine alone", title: "This node is on no network", text: "It answers this machine's own requests. On a network it finds peers, serves them and earns. The operator of a network provides its network.json.", words: "network join network.json" };
  if (!peers && status.chain === "ok") return { where: "Peers · a chain of its own", title: "This node is on a private development chain", text: "Only you can send requests here. The built-in guest can pay for answers, so that you see receipts and earnings. Join a network to find peers.", words: "network join network.json" };
  if (!peers) return { where: "Peers · waiting", tone: "warn", title: "Waiting for the chain before peers can connect", text: check(status, "chain")?.says ?? "The node is still connecting.", buttons: [button("Try again", poll, { kind: "primary" })], words: "doctor --only network" };
  if (!peers.peers.some((peer) => peer.is_connected)) {
    const tried = peers.peers.length ? `${count(peers.peers.length)} addresses were tried: ${[...new Set(peers.peers.map((peer) => word(peer.learned_from)))].join(", ")}.` : "No address of a peer is known.";
    return { where: "Peers · none", tone: "warn", title: "No peers yet", text: `${tried} The node keeps trying. The likely cause is a firewall that blocks outgoing TCP. Chat works meanwhile.`, buttons: [button("Try again", poll, { kind: "primary" })], words: "doctor --only network" };
  }
  return null;
}

function drawTiles({ peers, n, reach, market, base }) {
  const serving = (peers ?? []).filter((peer) => peer.serves), own = market.find((each) => each.model === base) ?? market[0];
  const adapters = new Set(serving.flatMap((peer) => peer.adapters));
  return strip("tiles",
    tile({ label: "Connected", value: count(n), context: peers ? `${count(peers.length)} known` : "no network to be on" }),
    tile({ label: "Reached from outside", value: reach.word, context: reach.says }),
    tile({ label: "Serving", value: peers && count(serving.length), after: serving.length === 1 ? "peer" : "peers", context: peers ? "that advertise now" : "nobody advertises here" }),
    tile({ label: "Adapters on offer", value: peers && count(adapters.size), context: peers ? "in other nodes' memory" : "none but yours" }),
    tile({ label: "Your price", value: own && (own.offers > 1 ? `${own.rank}` : "alone"), after: own?.offers > 1 ? `of ${own.offers}` : "", context: own ? `for ${own.model}${own.tied ? `, shared with ${own.tied} at the same price` : ""}` : "this node sells nothing" }));
}

// ---- who is there

const PRIVATE = /^\/ip4\/(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|127\.)|^\/ip6\/(fe80|fd|::1)/;

function path(peer) {
  if (!peer.is_connected) return chip("known", "");
  if (peer.path === "relayed") return chip("relay", "warn");
  if (peer.path === "punched") return chip("punched", "ok");
  return PRIVATE.test(peer.address ?? "") ? chip("LAN", "ok") : chip(peer.address ? "direct" : "dialled in", "ok");
}

const word = (learned) => learned.startsWith("rendezvous") ? "rendezvous" : learned === "inbound" ? "dialled in" : learned;

function drawList({ peers, filter, all }, held, draw) {
  const wanted = filter.toLowerCase();
  const matching = peers.filter((peer) => !wanted || [peer.peer_id, peer.address ?? "", ...peer.adapters, peer.wallet ?? ""].some((text) => String(text).toLowerCase().includes(wanted)))
    .sort((a, b) => b.is_connected - a.is_connected || b.serves - a.serves || (a.peer_id < b.peer_id ? -1 : 1));
  const shown = all ? matching : matching.slice(0, SHOWN), rest = matching.length - shown.length;
  const field = h("input", { class: "filter", type: "search", value: filter, placeholder: "Filter  /", "aria-label": "Filter the peers", dataset: { key: "filter" }, oninput: () => { held.filter = field.value; draw(); } });
  const has = (name) => peers.some((peer) => (peer[name] ?? null) !== null);
  return panel({ "aria-label": "Peers" }, "Known peers", field, table({
    caption: "Peers that this node knows", rows: shown, key: (peer) => peer.peer_id,
    columns: [
      { label: "Peer", head: true, keep: true, cell: (peer) => [id(peer.peer_id), h("small", {}, word(peer.learned_from))] },
      { label: "Path", cell: path },
      { label: "Serves", cell: (peer) => served(peer) },
      ...(has("price_wei") ? [{ label: "Price / 1k", num: true, cell: (peer) => price(peer.price_wei) }] : []),
      ...(has("tokens_per_s") ? [{ label: "Tokens/s", num: true, rank: 2, cell: (peer) => count(peer.tokens_per_s || null) }] : []),
      ...(has("slots_free") ? [{ label: "Places free", num: true, rank: 2, cell: (peer) => count(peer.slots_free) }] : []),
      ...(has("advertised") ? [{ label: "Advertised", num: true, rank: 2, cell: (peer) => peer.advertised ? time(peer.advertised) : NONE }] : []),
      { label: "Address", rank: 2, cell: (peer) => peer.address ? h("code", { title: peer.address }, peer.address.split("/p2p/")[0]) : NONE },
      { label: "Wallet", rank: 2, keep: true, cell: (peer) => id(peer.wallet) },
    ],
  }), matching.length === 0 && h("p", { class: "dim" }, `No peer matches ${filter}.`),
  rest > 0 && h("div", {}, button(`Show ${rest} more`, () => { held.all = true; draw(); }, { kind: "link", changes: false })), cliLine("peers list --json"));
}

function served(peer) {
  if (!peer.serves) return h("span", { class: "dim" }, peer.adapters.length || peer.wallet ? "asks only" : NONE);
  const [first, ...rest] = peer.adapters;
  return first === undefined ? "the base" : `${rest.length ? `${first} · ${rest.length} more` : first}`;
}

// ---- who is asked, who wins, and why

const HERE = 10;
const bond = ({ bonded_wei: wei }) => wei === null ? h("span", { class: "dim" }, "not read yet") : wei === "0" ? h("span", { class: "dim" }, "none") : price(wei);
const answers = ({ num_whole: whole, num_late: late, num_failed: failed }) => [count(whole), late > 0 && ` · ${count(late)} late`, failed > 0 && ` · ${count(failed)} failed`];
const share = (seller) => `${Math.round(seller.trust_ppm / 10_000)} %`;

function why(seller) {
  if (seller.bonded_wei === "0") return "its wallet has no bond, so it is not asked";
  if (!seller.num_asked) return h("span", { class: "dim" }, "not asked since the start");
  return seller.why_not ? h("span", { title: seller.why_not }, seller.why_not.split(":")[0]) : "it won the last call";
}

function drawSellers(peers) {
  const sorted = [...peers].sort((a, b) => b.seller.num_asked - a.seller.num_asked || b.seller.trust_ppm - a.seller.trust_ppm || (a.peer_id < b.peer_id ? -1 : 1));
  return panel({}, "Sellers: who is asked, and who wins", "calls since this node started", table({
    caption: "Sellers by the calls that this node made to them", rows: sorted.slice(0, HERE), key: (peer) => peer.peer_id,
    columns: [
      { label: "Seller", head: true, keep: true, cell: (peer) => id(peer.peer_id) },
      { label: "Asked", num: true, cell: ({ seller }) => count(seller.num_asked) }, { label: "Won", num: true, cell: ({ seller }) => count(seller.num_won) },
      { label: "Trust", num: true, cell: ({ seller }) => share(seller) },
      { label: "Whole answers", num: true, rank: 2, cell: ({ seller }) => answers(seller) },
      { label: "Not reached", num: true, rank: 2, cell: ({ seller }) => count(seller.num_unreached) },
      { label: "Measured tokens/s", num: true, rank: 2, cell: ({ seller }) => count(seller.measured_tokens_per_s) },
      { label: "Bond", num: true, rank: 2, cell: ({ seller }) => bond(seller) },
      { label: "Last call", cell: ({ seller }) => why(seller) },
    ],
  }), peers.length > HERE && h("p", { class: "dim" }, `${count(peers.length - HERE)} more sellers are in the list of the command.`), cliLine("peers list"));
}

// ---- how we are found

function drawFound({ peers, network, reach, says, alone }) {
  const from = new Map();
  for (const peer of peers?.peers ?? []) from.set(word(peer.learned_from), (from.get(word(peer.learned_from)) ?? 0) + 1);
  const addresses = peers?.addresses ?? [], relays = reach?.relays ?? [], toCopy = addresses[0] ?? relays[0];
  return panel({ class: "fill" }, "How you are found", null, facts([
    ["Reachable", says[0].toUpperCase() + says.slice(1)],
    ["Reached at", reach?.addresses.length ? lines(reach.addresses) : null],
    ["Relays", relays.length ? lines(relays.map((each) => each.split("/p2p-circuit")[0])) : null],
    ["Seen at", reach?.seen_as.length ? lines(reach.seen_as) : null], ["Router", reach?.router ?? null],
    ["Advertises", addresses.length ? lines(addresses) : alone ? "no port: nobody could come" : NONE],
    ["Peer id", peers ? h("code", { title: peers.peer_id }, short(peers.peer_id, 10)) : NONE],
    ["Peers from", from.size ? [...from].map(([name, n]) => `${name} ${n}`).join(" · ") : NONE], ["Network", network],
  ]), reach?.remedy && note("", reach.remedy), h("span", { class: "fill" }), h("div", { class: "buttons" }, button("Copy address", () => copy(withId(toCopy, peers.peer_id), "The address is copied"), { changes: false, disabled: !toCopy })), cliLine("doctor --only network"));
}

const lines = (addresses) => addresses.map((each) => h("div", {}, h("code", { title: each }, String(each).split("/p2p/")[0])));

const withId = (address, peerId) => address.includes("/p2p/") ? address : `${address}/p2p/${peerId}`;

// ---- what others ask

function drawMarket({ prices, peers, base }) {
  const models = prices?.market ?? [];
  if (!models.length) return panel({ class: "fill" }, "Market", null, h("p", { class: "dim" }, prices ? "Nothing of yours is for sale here, so there is nobody to compare with." : "Asking…"), h("span", { class: "fill" }), cliLine("price show"));
  const own = prices.price_wei;
  const rows = peers.filter((peer) => peer.serves && (peer.price_wei ?? null) !== null && peer.has_our_base)
    .map((peer) => ({ name: id(peer.peer_id), price: peer.price_wei, speed: peer.tokens_per_s, warm: peer.adapters.length, key: peer.peer_id }));
  if (rows.length) return drawNodes([...rows, { name: "you", price: own, speed: null, warm: null, key: "you" }], base);
  return panel({ class: "fill" }, "Market", "OPEN per 1k tokens in and out", table({
    caption: "Your price beside others', by model", rows: models, key: (each) => each.model,
    columns: [
      { label: "Model", head: true, cell: (each) => each.model }, { label: "Rank", num: true, cell: (each) => `${each.rank} of ${each.offers}` },
      { label: "Yours", num: true, cell: (each) => price(each.own_wei) }, { label: "Cheapest", num: true, cell: (each) => price(each.cheapest_wei) }, { label: "Median", num: true, rank: 2, cell: (each) => price(each.median_wei) },
    ],
  }), h("span", { class: "fill" }), cliLine("price show"));
}

function drawNodes(rows, base) {
  const cheapest = rows.sort((a, b) => BigInt(a.price) < BigInt(b.price) ? -1 : BigInt(a.price) > BigInt(b.price) ? 1 : 0);
  return panel({ class: "fill" }, `Market for ${base}`, `${rows.length} nodes · OPEN per 1k tokens`, table({
    caption: "Nodes by price", rows: cheapest.map((row) => ({ ...row, place: 1 + cheapest.findIndex((each) => BigInt(each.price) === BigInt(row.price)) })).filter((row, n) => n < 8 || row.key === "you"), key: (row) => row.key, chosen: "you",
    columns: [
      { label: "", about: "Rank", tight: true, cell: (row) => String(row.place) }, { label: "Node", head: true, cell: (row) => row.key === "you" ? h("b", {}, "you") : row.name },
      { label: "Price", num: true, cell: (row) => price(row.price) }, { label: "Tokens/s", num: true, rank: 2, cell: (row) => count(row.speed || null) }, { label: "Warm", num: true, rank: 2, cell: (row) => count(row.warm) },
    ],
  }), h("span", { class: "fill" }), cliLine("price show"));
}
