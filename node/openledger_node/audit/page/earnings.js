// What one account has earned, from events, with the checks of `openledger-node contributor show` that need no code.

const PPM = 1000000n;
const CONTRIBUTOR = 3n;
const ROLES = { 0: "node", 1: "owner", 3: "contributor", 4: "treasury", 5: "protocol" };

async function readEarnings(chain, network, account, onProgress) {
  const { topics } = network;
  const from = network.deploy_block;
  const addresses = [network.contracts.PaymentChannels, network.contracts.AttributionRewards, network.contracts.DatanetRegistry];
  const named = [topics.Claimed, topics.Proposed, topics.Drawn, topics.Finalized, topics.DatanetCreated];
  const all = await chain.logs(addresses, [named], from, (part) => onProgress(part / 2));
  const rewards = network.contracts.AttributionRewards;
  const mine = [[topics.Credited, topics.Withdrawn], word32(BigInt(account))];
  const own = await chain.logs(rewards, mine, from, (part) => onProgress(0.5 + part / 2));
  const history = { claims: new Map(), names: new Map(), withdrawals: [] };
  for (const log of [...all, ...own]) take(history, log, topics);
  return report(chain, network, account, history);
}

function take(history, log, topics) {
  const [topic, second, third] = log.topics;
  if (topic === topics.DatanetCreated) {
    history.names.set(second, textAt(log, 0));
  } else if (topic === topics.Withdrawn) {
    history.withdrawals.push({ to: address20(log.words[0]), wei: log.words[1], block: log.block, transaction: log.transaction });
  } else if (topic === topics.Credited) {
    const credit = { wei: log.words[1], role: log.words[2], block: log.block, transaction: log.transaction };
    claimOf(history, third, log.words[0]).credits.push(credit);
  } else {
    const claim = claimOf(history, second, BigInt(third));
    if (topic === topics.Claimed) claim.record = recordOf(log);
    if (topic === topics.Proposed) claim.proposed = proposalOf(log);
    if (topic === topics.Drawn) claim.isDrawn = true;
    if (topic === topics.Finalized) claim.final = { isLate: log.words[0] !== 0n, block: log.block, transaction: log.transaction };
  }
}

function claimOf(history, node, seq) {
  const key = `${node}/${seq}`;
  if (!history.claims.has(key)) history.claims.set(key, { node: address20(BigInt(node)), seq, credits: [], isDrawn: false });
  return history.claims.get(key);
}

function recordOf(log) {
  const tuple = Number(log.words[0]) / 32;
  const pots = tuple + Number(log.words[tuple + 11]) / 32;
  const found = [];
  for (let index = 0; index < Number(log.words[pots]); index++) {
    const [, adapter, datanet, gross, amount] = log.words.slice(pots + 1 + 5 * index, pots + 6 + 5 * index);
    found.push({ adapter: word32(adapter), datanet: word32(datanet), gross, amount });
  }
  return { hash: keccak(bytesOf(log.data)), claimedAt: Number(log.words[tuple + 3]), pots: found };
}

function proposalOf(log) {
  const start = Number(log.words[1]) / 32;
  const payouts = [];
  for (let index = 0; index < Number(log.words[start]); index++) {
    const [pot, account, weight] = log.words.slice(start + 1 + 3 * index, start + 4 + 3 * index);
    payouts.push({ pot: Number(pot), account: address20(account), weight });
  }
  return { payouts, readyAt: Number(log.words[2]), hash: hashOfList(payouts) };
}

// keccak of abi.encode(Payout[])
function hashOfList(payouts) {
  const words = [32n, BigInt(payouts.length)];
  for (const each of payouts) words.push(BigInt(each.pot), BigInt(each.account), each.weight);
  return keccak(bytesOf("0x" + words.map((word) => word.toString(16).padStart(64, "0")).join("")));
}

async function report(chain, network, account, history) {
  const { contracts, selectors } = network;
  const found = { payouts: [], others: [], withdrawals: history.withdrawals, faults: [], names: history.names, lists: 0 };
  for (const claim of history.claims.values()) {
    const lines = (claim.proposed?.payouts ?? []).filter((each) => each.account === account);
    const name = `${claim.node}/${claim.seq}`;
    const before = found.payouts.length;
    if (lines.length) {
      found.lists++;
      for (const why of await faultsOf(chain, network, claim)) found.faults.push(`${name}: ${why}`);
      if (claim.record) await addPayouts(found, chain, claim, lines);
    }
    for (const credit of claim.credits) {
      if (credit.role !== CONTRIBUTOR) found.others.push({ ...credit, role: ROLES[credit.role] ?? "another role", name });
    }
    const final = found.payouts.slice(before).filter((each) => each.state === "final");
    const paid = sum(claim.credits.filter((credit) => credit.role === CONTRIBUTOR));
    if (sum(final) !== paid) found.faults.push(`${name}: its list gives ${sum(final)} wei, and ${paid} were credited`);
  }
  [found.balance] = await chain.view(contracts.AttributionRewards, selectors.balanceOf, [BigInt(account)]);
  const credited = sum([...history.claims.values()].flatMap((claim) => claim.credits));
  const left = credited - sum(history.withdrawals);
  if (left !== found.balance) {
    found.faults.push(`the balance is ${found.balance} wei, and credits less withdrawals are ${left}: events are missing`);
  }
  for (const each of [...found.others, ...found.withdrawals]) each.at = await chain.timeOf(each.block);
  await chain.checkStillThere();
  return found;
}

async function addPayouts(found, chain, claim, lines) {
  const at = claim.final ? await chain.timeOf(claim.final.block) : null;
  for (const line of lines) {
    const pot = claim.record.pots[line.pot];
    if (!pot?.gross) continue; // no honest chain has such a pot, and faultsOf names it
    found.payouts.push({
      name: `${claim.node}/${claim.seq}`,
      state: stateOf(claim, chain.time),
      adapter: pot.adapter,
      datanet: pot.datanet,
      weight: line.weight,
      wei: (pot.amount * line.weight) / (PPM * pot.gross),
      readyAt: claim.proposed.readyAt,
      at,
    });
  }
}

function stateOf(claim, time) {
  if (claim.final) return claim.final.isLate ? "lapsed" : "final";
  if (claim.isDrawn) return "drawn";
  return time < claim.proposed.readyAt ? "in review" : "to be drawn";
}

async function faultsOf(chain, network, claim) {
  const { contracts, selectors } = network;
  if (!claim.record) return ["its record is in no event, so what the list divides is not known"];
  const faults = [];
  const key = [BigInt(claim.node), claim.seq];
  const stored = word32((await chain.view(contracts.AttributionRewards, selectors.proposalOf, key))[1]);
  if (stored !== claim.proposed.hash) faults.push(`its payout list hashes to ${claim.proposed.hash}, and the chain stores ${stored}`);
  const kept = word32((await chain.view(contracts.PaymentChannels, selectors.claimOf, key))[0]);
  const expected = claim.final ? word32(0n) : claim.record.hash;
  if (kept !== expected) faults.push(`its record hashes to ${expected}, and the chain stores ${kept}`);
  for (const [index, pot] of claim.record.pots.entries()) {
    const weights = claim.proposed.payouts.filter((each) => each.pot === index).map((each) => ({ wei: each.weight }));
    if (weights.length && sum(weights) !== PPM * pot.gross) faults.push(`the weights of its pot ${index} do not add up`);
  }
  return faults;
}

const sum = (rows) => rows.reduce((total, row) => total + row.wei, 0n);
