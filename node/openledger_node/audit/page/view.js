// The form and the tables. Everything that a chain says is put in as text, never as markup.

const network = JSON.parse(document.getElementById("network").textContent);
const form = document.querySelector("form");
const says = document.getElementById("says");
const shown = document.getElementById("shown");
const DECIMALS = 18;

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function open(wei) {
  const digits = wei.toString().padStart(DECIMALS + 1, "0");
  const rest = digits.slice(-DECIMALS).replace(/0+$/, "");
  const whole = digits.slice(0, -DECIMALS).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${rest ? `${whole}.${rest}` : whole} ${network.symbol}`;
}

const moment = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

function table(title, columns, rows) {
  if (!rows.length) return element("p", `${title}: none yet.`);
  const head = element("tr", null, ...columns.map((column) => element("th", column)));
  const body = rows.map((row) => element("tr", null, ...row.map(cell)));
  const made = element("table", null, element("thead", null, head), element("tbody", null, ...body));
  const box = element("div", null, made);
  box.className = "scroll";
  box.tabIndex = 0;
  return element("section", null, element("h2", title), box);
}

// A cell; an id stands there in short, and whole in its title.
function cell(text) {
  const made = element("td", text.replace(/^(0x[0-9a-f]{6})[0-9a-f]{30,}/, "$1…"));
  made.title = text;
  return made;
}

function grouped(rows, keyOf) {
  const sums = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    const found = sums.get(key) ?? { final: 0n, pending: 0n };
    if (row.state === "final") found.final += row.wei;
    else if (row.state !== "lapsed") found.pending += row.wei;
    sums.set(key, found);
  }
  return [...sums].map(([key, found]) => [...key.split("\n"), open(found.final), open(found.pending)]);
}

function daysOf(found) {
  const days = new Map();
  const add = (at, column, wei) => {
    const day = moment(at).slice(0, 10);
    const sums = days.get(day) ?? [0n, 0n, 0n];
    sums[column] += wei;
    days.set(day, sums);
  };
  for (const each of found.payouts) if (each.state === "final") add(each.at, 0, each.wei);
  for (const each of found.others) add(each.at, 1, each.wei);
  for (const each of found.withdrawals) add(each.at, 2, each.wei);
  return [...days].sort().map(([day, sums]) => [day, ...sums.map(open)]);
}

function show(found, chain, account, endpoints) {
  const of = (...states) => sum(found.payouts.filter((each) => states.includes(each.state)));
  const name = (id) => found.names.get(id) || id.slice(0, 10) + "…";
  const facts = [
    ["Account", account],
    ["Read", `block ${chain.block}, ${moment(chain.time)} UTC, over ${endpoints === 1 ? "1 endpoint" : `${endpoints} endpoints that tell the same`}`],
    ["Ready to withdraw", open(found.balance)],
    ["Pending", open(of("in review", "to be drawn", "drawn"))],
    ["Final, for rows", open(of("final"))],
    ["Withdrawn", open(sum(found.withdrawals))],
  ];
  if (of("lapsed")) facts.push(["Lapsed: its node did not show the list", open(of("lapsed"))]);
  if (found.others.length) facts.push(["Credited in other roles", open(sum(found.others))]);
  const proof = found.faults.length
    ? element("ul", null, ...found.faults.map((fault) => element("li", fault)))
    : element("p", `${found.lists} payout lists and the balance agree with the chain, as the endpoint told it.`);
  proof.className = found.faults.length ? "bad" : "good";
  proof.id = "proof";
  const when = (each) => (each.state === "in review" ? `review ends ${moment(each.readyAt)}` : each.state === "final" ? `credited ${moment(each.at)}` : "");
  shown.replaceChildren(
    element("dl", null, ...facts.flatMap(([label, value]) => [element("dt", label), element("dd", value)])),
    proof,
    table("Payouts", ["claim", "state", "Datanet", "adapter", "amount", "when (UTC)"], found.payouts.map((each) =>
      [each.name, each.state, name(each.datanet), each.adapter, open(each.wei), when(each)])),
    table("Days (UTC)", ["day", "final", "other roles", "withdrawn"], daysOf(found)),
    table("Datanets", ["name", "id", "final", "pending"], grouped(found.payouts, (each) => `${name(each.datanet).replaceAll("\n", " ")}\n${each.datanet}`)),
    table("Adapters", ["id", "final", "pending"], grouped(found.payouts, (each) => each.adapter)),
    table("Withdrawals", ["to", "amount", "when (UTC)"], found.withdrawals.map((each) => [each.to, open(each.wei), moment(each.at)])),
  );
}

// Two readings of the same block, compared as text.
const asText = (found) => JSON.stringify(found, (_, value) => (typeof value === "bigint" ? value.toString() : value instanceof Map ? [...value] : value));

async function look(account, urls) {
  const chains = urls.map((url) => new Chain(url));
  for (const chain of chains) await chain.pin(network);
  const least = Math.min(...chains.map((chain) => chain.block));
  const found = [];
  for (const [index, chain] of chains.entries()) {
    if (chain.block !== least) await chain.pin(network, least);
    const onProgress = (part) => { says.textContent = `Reading ${chain.url}: ${Math.floor(100 * part)} %`; };
    found.push(await readEarnings(chain, network, account, onProgress));
    if (index && (chain.hash !== chains[0].hash || asText(found[index]) !== asText(found[0]))) {
      throw new Error("the two endpoints tell different histories: one of them is wrong, so ask a third one");
    }
  }
  show(found[0], chains[0], account, chains.length);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const account = form.account.value.trim().toLowerCase();
  const urls = [form.rpc.value.trim(), form.second.value.trim()].filter(Boolean);
  shown.replaceChildren();
  if (!/^0x[0-9a-f]{40}$/.test(account)) {
    says.textContent = "That is no address: it has 0x and 40 hexadecimal digits.";
    return;
  }
  if (!urls.length || !urls.every((url) => /^https?:\/\/\S+$/.test(url))) {
    says.textContent = "Name an endpoint that begins with https:// or http://.";
    return;
  }
  form.go.disabled = true;
  try {
    await look(account, urls);
    says.textContent = "";
  } catch (error) {
    // Errors of other kinds are the browser's own words on an answer that is malformed.
    says.textContent = error.constructor === Error ? error.message : "An endpoint sent something that this page can't read; ask another one.";
  } finally {
    form.go.disabled = false;
  }
});

document.getElementById("name").textContent = network.network;
form.rpc.value = network.rpc[0] ?? "";
