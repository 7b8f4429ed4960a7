// Sizes, places and rows: what lies where in the cache and in a step's buffers, and who works on what together.
#pragma once

#include <algorithm>
#include <vector>

#include "gemm.h"
#include "memory.h"

namespace {

constexpr int QUERIES = 6;         // queries that one pass over a block serves: 6 × 4 registers of values
constexpr int STREAMED_UNITS = 8;  // adapters of a step that are worth a stream of each; fewer stay in the cache
constexpr int STREAMED_ROWS = 2;   // rows of each of them, at most on average
constexpr int FUSED = 3;           // maps of one product, at most: q, k and v

enum { Q, K, V, O, GATE, UP, DOWN };

// Padded to whole pairs of AMX, and to an odd number of cache lines: else rows would crowd into a part of the cache.
inline int row_width(int n) { return (round_up(n, 2 * PAIRS) / 32 | 1) * 32; }

struct Shape {  // sizes of a base, and of the rows that go through it
  explicit Shape(const Base& base)
      : base(base),
        share(base.heads / base.kv_heads),
        width(row_width(base.d_model)),
        mlp_width(row_width(base.d_mlp)),
        q_width(round_up(base.heads * base.head_dim, LANES)),
        kv_width(round_up(base.kv_heads * base.head_dim, LANES)),
        mixed_width(row_width(base.heads * base.head_dim)),
        head_width(round_up(base.head_dim, LANES)),
        delta_width(std::max({q_width + 2 * kv_width, 2 * round_up(base.d_mlp, LANES), round_up(base.d_model, LANES)})),
        block(size_t(LANES) * (base.head_dim + head_width)) {}

  Base base;
  int share;  // query heads of a key head
  int width, mlp_width, q_width, kv_width, mixed_width, head_width, delta_width;
  size_t block;  // numbers of one block and head
};

class Cache {  // (layers, blocks, kv heads, keys then values of 16 tokens)
 public:
  explicit Cache(const Shape& shape) : shape_(shape) {
    const Base& base = shape.base;
    is_whole_ = memory_.fit(size_t(base.layers) * base.blocks * base.kv_heads * shape.block);
  }

  bool is_whole() const { return is_whole_; }

  bf16* keys(int layer, int number, int head) {
    const Base& base = shape_.base;
    return memory_.data() + ((size_t(layer) * base.blocks + number) * base.kv_heads + head) * shape_.block;
  }

  bf16* values(int layer, int number, int head) {
    return keys(layer, number, head) + size_t(shape_.base.head_dim) * LANES;
  }

  // NOTE: a recycled block holds what another sequence left, perhaps no numbers at all: 0 · NaN is NaN.
  void clear(int layer, int number) {
    memset(keys(layer, number, 0), 0, shape_.base.kv_heads * shape_.block * sizeof(bf16));
  }

 private:
  const Shape& shape_;
  Buffer<bf16> memory_;
  bool is_whole_;
};

struct Unit { int first, count; const Site* sites; };  // rows of one adapter, shared out to threads
struct Task { int segment, head, first, count; };      // queries of one key head: heads × tokens, at most QUERIES

struct Batch {  // which row belongs to whom, and what is worked on together
  std::vector<Unit> units;
  std::vector<Task> tasks;
  std::vector<int> segment_of, wanted_row;
  std::vector<const Site*> sites_of;
  std::vector<const Segment*> tapped_by;  // of a row that is tapped, or null
  bool has_adapters = false;
  bool has_taps = false;
  bool streams = false;  // what each adapter adds is computed before the product, else tile by tile within it
  int unit_rows = 16, rank_width = 0, context_width = 0;

  void lay_out(const Step& step, const Shape& shape, int threads, bool has_tiles) {
    units.clear();
    tasks.clear();
    segment_of.resize(step.rows);
    sites_of.resize(step.rows);
    wanted_row.assign(step.wanted, 0);
    tapped_by.assign(step.rows, nullptr);
    has_adapters = has_taps = false;
    unit_rows = std::clamp(round_up(step.rows / (2 * threads), 16), 16, has_tiles ? GROUP_ROWS : 16);
    int context = 0;
    for (int n = 0; n < step.segments; n++) {
      const Segment& part = step.segment[n];
      if (part.wanted >= 0) wanted_row[part.wanted] = part.first + part.count - 1;
      has_adapters |= part.sites != nullptr;
      if (part.sites && part.taps) tapped_by[part.first + part.count - 1] = &part, has_taps = true;
      context = std::max(context, part.position + part.count);
      std::fill_n(segment_of.begin() + part.first, part.count, n);
      std::fill_n(sites_of.begin() + part.first, part.count, part.sites);
      add_units(part);
      add_tasks(part, n, shape);
    }
    bool is_spread = units.size() >= STREAMED_UNITS && size_t(step.rows) <= STREAMED_ROWS * units.size();
    streams = has_adapters && is_spread;
    rank_width = round_up(std::max(1, step.rank_max), 2 * PAIRS);
    context_width = round_up(context, LANES);
  }

 private:
  void add_units(const Segment& part) {
    for (int i = 0; i < part.count; i++)
      if (!units.empty() && units.back().sites == part.sites && units.back().count < unit_rows)
        units.back().count++;
      else
        units.push_back({part.first + i, 1, part.sites});
  }

  void add_tasks(const Segment& part, int number, const Shape& shape) {
    int tokens = std::max(1, QUERIES / shape.share);
    for (int head = 0; head < shape.base.kv_heads; head++)
      for (int i = 0; i < part.count; i += tasks.back().count)
        tasks.push_back({number, head, i, std::min(tokens, part.count - i)});
  }
};

class Rows {  // what is known of each row in the middle of a step
 public:
  Rows(const Shape& shape, int threads) : shape_(shape), scores_(threads) {}

  bool fit(const Step& step, const Batch& batch) {  // false where memory is short
    // More rows than there are, because tiles read behind the last one.
    size_t rows = step.rows + GROUP_ROWS, wanted = step.wanted + AMX_ROWS, lanes = scores_.size() * wanted * LANES;
    bool fits = hidden_.fit(rows * shape_.base.d_model) && x_.fit(rows * shape_.width) &&
                mlp_.fit(rows * shape_.mlp_width) && qkv_.fit(rows * (shape_.q_width + 2 * shape_.kv_width)) &&
                q_.fit(rows * shape_.mixed_width) && mixed_.fit(rows * shape_.mixed_width) &&
                last_.fit(wanted * shape_.width) && best_.fit(lanes) && best_id_.fit(lanes) && bad_.fit(lanes) &&
                shrunk_.fit(rows * FUSED * batch.rank_width) &&
                (!batch.streams || delta_.fit(rows * shape_.delta_width));
    for (auto& scores : scores_) fits = fits && scores.fit(size_t(QUERIES) * batch.context_width * 3 / 2);
    return fits;
  }

  float* hidden(int row) { return hidden_.data() + size_t(row) * shape_.base.d_model; }
  float* qkv(int row) { return qkv_.data() + size_t(row) * (shape_.q_width + 2 * shape_.kv_width); }
  float* delta(int row) { return delta_.data() + size_t(row) * shape_.delta_width; }
  bf16* x(int row) { return x_.data() + size_t(row) * shape_.width; }
  bf16* q(int row) { return q_.data() + size_t(row) * shape_.mixed_width; }
  bf16* mixed(int row) { return mixed_.data() + size_t(row) * shape_.mixed_width; }
  bf16* mlp(int row) { return mlp_.data() + size_t(row) * shape_.mlp_width; }
  bf16* shrunk(int row, int map, int width) { return shrunk_.data() + (size_t(row) * FUSED + map) * width; }
  bf16* last(int row) { return last_.data() + size_t(row) * shape_.width; }  // of the wanted ones

  Input x_in() { return {x_.data(), shape_.width, round_up(shape_.base.d_model, 32)}; }
  Input mixed_in() {
    return {mixed_.data(), shape_.mixed_width, round_up(shape_.base.heads * shape_.base.head_dim, 32)};
  }
  Input mlp_in() { return {mlp_.data(), shape_.mlp_width, round_up(shape_.base.d_mlp, 32)}; }
  Input last_in() { return {last_.data(), shape_.width, round_up(shape_.base.d_model, 32)}; }

  float* scores(int thread) { return scores_[thread].data(); }  // then chances

  // A thread's likeliest tokens of each wanted row, lane by lane, and whether a number of the row overflowed.
  float* best(int thread, int wanted) { return best_.data() + size_t(thread) * wanted * LANES; }
  int32_t* best_id(int thread, int wanted) { return best_id_.data() + size_t(thread) * wanted * LANES; }
  int32_t* bad(int thread, int wanted) { return bad_.data() + size_t(thread) * wanted * LANES; }

 private:
  const Shape& shape_;
  Buffer<float> hidden_, qkv_, delta_, best_;
  Buffer<bf16> x_, q_, mixed_, mlp_, shrunk_, last_;
  Buffer<int32_t> best_id_, bad_;
  std::vector<Buffer<float>> scores_;  // of each thread
};

}  // namespace
