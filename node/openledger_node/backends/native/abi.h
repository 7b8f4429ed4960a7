// The structures that the caller hands over; the same stand in library.py, which compares sizes by ol_abi().
#pragma once

#include <cstdint>

using bf16 = uint16_t;
constexpr int SITES = 7;  // q k v o gate up down

extern "C" {

struct Linear {       // y = W x + bias
  const bf16* w;      // product layout
  const float* bias;  // or null
  int32_t k;          // inputs
  int32_t tiles;      // of 16 outputs
};

struct Layer {
  const float *attention_norm, *mlp_norm, *q_norm, *k_norm;  // the last two or null
  Linear qkv, o, gate_up, down;  // q, k and v each padded to whole tiles; tiles of gate and up take turns
};

struct Base {
  int32_t vocab, d_model, d_mlp, layers, heads, kv_heads, head_dim, context, blocks;
  float norm_eps, rope_scale;
  const float* frequencies;  // (head_dim / 2), radians a position
  const bf16* embedding;     // (vocab, d_model), or null: the head's own tiles are read
  const float* final_norm;
  Linear head;
  const Layer* layer;
};

struct Site {          // one linear map of one layer that an adapter changes; rank 0: it does not
  const bf16 *a, *b;
  const float* scale;  // (outputs) of DoRA, or null
  int32_t rank, even;  // rank, and rank padded to an even number
};

struct Segment {         // tokens of one sequence, next to each other
  int32_t first, count;  // rows of the batch
  int32_t position;      // of the first token in its sequence
  int32_t wanted;        // number of its last row among the wanted ones, or -1
  const int32_t* blocks;
  const Site* sites;     // (layers × SITES), or null: the bare base
  float* taps;           // (ranks of all sites): what each A makes of the last row; or null
  const int32_t* tap;    // (layers × SITES) where each site's ranks begin in taps; null without taps
};

struct Step {
  int32_t rows, segments, wanted, kept, rank_max;
  const int32_t* ids;      // (rows)
  const Segment* segment;  // rows of one adapter stand together
  float* logits;           // (kept, vocab): of the first wanted rows; of the others only the likeliest token is told
  int32_t* token;          // (wanted) likeliest token, or -1 where a number overflowed
};

}  // extern "C"
