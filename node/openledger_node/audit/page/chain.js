// Reads a chain over JSON-RPC as of one block: logs, views and times. Every answer is text from a stranger.

const CHUNK_BLOCKS = 1000;
const NUMBER = /^0x[0-9a-f]+$/i;

class Chain {
  constructor(url) {
    this.url = url;
    this.times = new Map();
    this.asked = 0;
  }

  async ask(method, params) {
    const body = JSON.stringify({ jsonrpc: "2.0", id: ++this.asked, method, params });
    let answer;
    try {
      const response = await fetch(this.url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      answer = await response.json();
    } catch {
      throw new Error(`${this.url} does not answer, or does not let a web page ask it`);
    }
    if (answer.error || answer.result === undefined) {
      throw new Error(`${this.url} refuses ${method}: ${String(answer.error?.message ?? "no result").slice(0, 200)}`);
    }
    return answer.result;
  }

  // Pin the block that everything is read at; `most` limits it to what another endpoint has too.
  async pin(network, most) {
    const chainId = number(await this.ask("eth_chainId", []));
    if (chainId !== network.chain_id) throw new Error(`${this.url} is on chain ${chainId}, not on ${network.chain_id}`);
    const first = await this.ask("eth_getBlockByNumber", ["0x0", false]);
    if (first?.hash !== network.genesis_hash) throw new Error(`${this.url} is on another chain than ${network.network}`);
    const head = number(await this.ask("eth_blockNumber", []));
    const block = await this.ask("eth_getBlockByNumber", [hex(Math.min(head, most ?? head)), false]);
    this.block = number(block.number);
    this.hash = block.hash;
    this.time = number(block.timestamp);
  }

  async checkStillThere() {
    const block = await this.ask("eth_getBlockByNumber", [hex(this.block), false]);
    if (block?.hash !== this.hash) throw new Error("the chain took its newest blocks back meanwhile; look again");
  }

  async timeOf(block) {
    if (!this.times.has(block)) {
      const found = await this.ask("eth_getBlockByNumber", [hex(block), false]);
      this.times.set(block, number(found.timestamp));
    }
    return this.times.get(block);
  }

  // Words of what a view returns; `words` are its arguments.
  async view(to, selector, words) {
    const data = selector + words.map((word) => word.toString(16).padStart(64, "0")).join("");
    return wordsOf(await this.ask("eth_call", [{ to, data }, hex(this.block)]));
  }

  async logs(address, topics, from, onProgress) {
    const found = [];
    let first = from;
    let chunk = CHUNK_BLOCKS;
    while (first <= this.block) {
      const last = Math.min(first + chunk - 1, this.block);
      try {
        found.push(...(await this.ask("eth_getLogs", [{ address, topics, fromBlock: hex(first), toBlock: hex(last) }])));
        first = last + 1;
      } catch (error) {
        if (chunk === 1) throw error;
        chunk = Math.floor(chunk / 2);
      }
      onProgress(Math.min(1, (first - from) / (this.block - from + 1)));
    }
    return found.filter((log) => !log.removed).map((log) => ({
      topics: log.topics,
      data: log.data,
      words: wordsOf(log.data),
      block: number(log.blockNumber),
      transaction: String(log.transactionHash),
    }));
  }
}

function number(text) {
  if (!NUMBER.test(text)) throw new Error("the endpoint sent something that is no number");
  return Number(text);
}

const hex = (value) => "0x" + value.toString(16);

// The 32-byte words of ABI data, as integers.
function wordsOf(data) {
  const digits = bytesOf(data).length ? data.slice(2) : "";
  const words = [];
  for (let at = 0; at + 64 <= digits.length; at += 64) words.push(BigInt("0x" + digits.slice(at, at + 64)));
  return words;
}

const word32 = (value) => "0x" + value.toString(16).padStart(64, "0");
const address20 = (value) => "0x" + value.toString(16).padStart(40, "0");

// A text at a word of an event's data.
function textAt(log, place) {
  const start = Number(log.words[place]);
  const length = Number(log.words[start / 32]);
  const bytes = bytesOf(log.data).slice(start + 32, start + 32 + Math.min(length, 1024));
  return new TextDecoder().decode(bytes);
}
