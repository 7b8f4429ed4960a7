// keccak-256 as contracts compute it, over bytes. Source: the Keccak reference, with rotations and round constants
// computed instead of listed.

const LANES = 25;
const RATE_BYTES = 136;
const MASK = (1n << 64n) - 1n;

const ROTATIONS = new Array(LANES).fill(0n);
const PLACES = new Array(LANES).fill(0);
for (let step = 0, x = 1, y = 0; step < 24; step++) {
  ROTATIONS[x + 5 * y] = BigInt(((step + 1) * (step + 2)) / 2 % 64);
  [x, y] = [y, (2 * x + 3 * y) % 5];
}
for (let x = 0; x < 5; x++) for (let y = 0; y < 5; y++) PLACES[x + 5 * y] = y + 5 * ((2 * x + 3 * y) % 5);

const ROUNDS = [];
for (let round = 0, register = 1; round < 24; round++) {
  let constant = 0n;
  for (let bit = 0; bit < 7; bit++) {
    if (register & 1) constant |= 1n << BigInt(2 ** bit - 1);
    register = register & 0x80 ? (register << 1) ^ 0x171 : register << 1;
  }
  ROUNDS.push(constant);
}

const turn = (lane, by) => (by ? ((lane << by) | (lane >> (64n - by))) & MASK : lane);

function permute(state) {
  const moved = new Array(LANES);
  for (const constant of ROUNDS) {
    const columns = [0, 1, 2, 3, 4].map((x) => state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20]);
    for (let x = 0; x < 5; x++) {
      const mixed = columns[(x + 4) % 5] ^ turn(columns[(x + 1) % 5], 1n);
      for (let y = 0; y < 25; y += 5) state[x + y] ^= mixed;
    }
    for (let lane = 0; lane < LANES; lane++) moved[PLACES[lane]] = turn(state[lane], ROTATIONS[lane]);
    for (let y = 0; y < 25; y += 5) {
      for (let x = 0; x < 5; x++) {
        state[x + y] = moved[x + y] ^ (~moved[((x + 1) % 5) + y] & MASK & moved[((x + 2) % 5) + y]);
      }
    }
    state[0] ^= constant;
  }
}

function keccak(bytes) {
  const padded = new Uint8Array((Math.floor(bytes.length / RATE_BYTES) + 1) * RATE_BYTES);
  padded.set(bytes);
  padded[bytes.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  const view = new DataView(padded.buffer);
  const state = new Array(LANES).fill(0n);
  for (let start = 0; start < padded.length; start += RATE_BYTES) {
    for (let lane = 0; lane < RATE_BYTES / 8; lane++) state[lane] ^= view.getBigUint64(start + 8 * lane, true);
    permute(state);
  }
  const digest = new DataView(new ArrayBuffer(32));
  for (let lane = 0; lane < 4; lane++) digest.setBigUint64(8 * lane, state[lane], true);
  return hexOf(new Uint8Array(digest.buffer));
}

function hexOf(bytes) {
  return "0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(hex) {
  if (!/^0x([0-9a-f]{2})*$/i.test(hex)) throw new Error("the endpoint sent something that is no hex");
  return Uint8Array.from(hex.slice(2).match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
