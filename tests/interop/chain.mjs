// The few questions and transactions that a payer and a node need, by JSON-RPC.
import { Transaction } from "micro-eth-signer";
import { addressOf, word } from "./money.mjs";
import { hex, join, keccak, pause, raw, utf8 } from "./wire.mjs";

const GAS = 300_000n;
const POLL_MS = 200;

export const calldata = (signature, ...values) =>
  hex(join(keccak(utf8(signature)).subarray(0, 4), ...values.map(word)));

/** One account on the chain of a network. */
export class Account {
  constructor(network, key) {
    Object.assign(this, { network, key, address: addressOf(key) });
  }

  async ask(method, ...params) {
    const response = await fetch(this.network.rpc[0], {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
    });
    const { result, error } = await response.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  /** The words that a function of a contract returns. */
  async read(contract, signature, ...values) {
    const answer = await this.ask(
      "eth_call",
      { to: this.network.contracts[contract], data: calldata(signature, ...values) },
      "latest",
    );
    return raw(answer).reduce((words, byte, place) => {
      words[place >> 5] = ((words[place >> 5] ?? 0n) << 8n) | BigInt(byte);
      return words;
    }, []);
  }

  /** Approve an amount of OPEN, spend it with a call of `contract`, and wait until a block has it. */
  async spend(contract, amount, signature, ...values) {
    const { OpenToken: token, [contract]: spender } = this.network.contracts;
    const calls = [
      [token, calldata("approve(address,uint256)", spender, amount)],
      [spender, calldata(signature, ...values)],
    ];
    let nonce = BigInt(await this.ask("eth_getTransactionCount", this.address, "latest"));
    let sent;
    for (const [to, data] of calls) {
      const fields = { to, data, nonce: nonce++, value: 0n, chainId: BigInt(this.network.chain_id), gasLimit: GAS };
      const fees = { maxFeePerGas: 10n ** 12n, maxPriorityFeePerGas: 10n ** 9n };
      const signed = Transaction.prepare({ ...fields, ...fees }, false).signBy(this.key);
      sent = await this.ask("eth_sendRawTransaction", signed.toHex());
    }
    for (;;) {
      const mined = await this.ask("eth_getTransactionReceipt", sent);
      if (mined && BigInt(mined.status) !== 1n) throw new Error(`${signature} was refused by the chain`);
      if (mined) return;
      await pause(POLL_MS);
    }
  }
}
