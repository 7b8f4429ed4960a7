// One step: every layer over a ragged batch, then the head.
#pragma once

#include <algorithm>
#include <vector>

#include "attention.h"
#include "lora.h"
#include "product.h"

namespace {

class Engine {
 public:
  Engine(const Base& base, int threads)
      : shape_(base),
        base_(shape_.base),
        layers_(base.layer, base.layer + base.layers),
        team_(threads),
        has_tiles_(allow_tiles()),
        rows_(shape_, threads),
        attention_(shape_, batch_, rows_, has_tiles_) {}

  bool has_tiles() const { return has_tiles_; }

  bool is_whole() { return attention_.cache().is_whole(); }

  bool step(const Step& step) {  // false where memory is short
    batch_.lay_out(step, shape_, team_.size(), has_tiles_);
    if (!rows_.fit(step, batch_)) return false;
    team_.run([&](int thread) {
      unsigned rounding = _mm_getcsr();
      _mm_setcsr(rounding | 0x8040);  // numbers near 2⁻¹²⁶ become zero, as in every product of bfloat16
      if (has_tiles_) set_tiles();
      for (int row; (row = team_.take(thread, step.rows)) >= 0;) embed(step.ids[row], rows_.hidden(row));
      team_.barrier();
      for (int n = 0; n < base_.layers; n++) run_layer(step, n, thread);
      choose(step, thread);
      if (has_tiles_) release_tiles();
      _mm_setcsr(rounding);
    });
    for (int n = 0; n < step.wanted; n++) step.token[n] = likeliest(step, n);
    return true;
  }

 private:
  struct Fused {  // one of the maps of a product: its tiles stand `stride` apart, from `first` on
    int site, first, stride, tiles;
    int place(int tile) const { return first + tile * stride; }
    bool has(int at) const { return at >= first && at < place(tiles) && (at - first) % stride == 0; }
  };

  void embed(int id, float* out) {
    int d = base_.d_model;
    if (base_.embedding) {
      const bf16* in = base_.embedding + size_t(id) * d;
      for (int i = 0; i < d; i++) out[i] = widen(in[i]);
      return;
    }
    const bf16* tile = base_.head.w + size_t(id / LANES) * size_of_tile(base_.head) + id % LANES * 2;
    for (int i = 0; i < d; i++) out[i] = widen(tile[size_t(i / 2) * 2 * LANES + i % 2]);
  }

  void norm_row(const float* in, const float* weight, bf16* out) {
    int d = base_.d_model;
    norm(in, weight, d, base_.norm_eps,
         [&](int i, __m512 y) { _mm256_mask_storeu_epi16(out + i, mask(d - i), narrow(y)); });
  }

  // ---- one layer

  void run_layer(const Step& step, int n, int thread) {
    const Layer& layer = layers_[n];
    int q_tiles = shape_.q_width / LANES, kv_tiles = shape_.kv_width / LANES, d_tiles = layer.o.tiles;
    const Fused qkv[] = {{Q, 0, 1, q_tiles}, {K, q_tiles, 1, kv_tiles}, {V, q_tiles + kv_tiles, 1, kv_tiles}};
    const Fused o[] = {{O, 0, 1, d_tiles}}, down[] = {{DOWN, 0, 1, d_tiles}};
    const Fused gate_up[] = {{GATE, 0, 2, layer.gate_up.tiles / 2}, {UP, 1, 2, layer.gate_up.tiles / 2}};

    begin(step, n, thread, layer.attention_norm, qkv);
    project(n, thread, layer.qkv, qkv, step.rows);
    team_.barrier();
    for (int row; (row = team_.take(thread, step.rows)) >= 0;)
      attention_.place(step.segment[batch_.segment_of[row]], layer, n, row);
    team_.barrier();
    for (int t; (t = team_.take(thread, batch_.tasks.size())) >= 0;)
      attention_.attend(step, n, batch_.tasks[t], rows_.scores(thread));
    team_.barrier();
    add_adapters(thread, n, o, rows_.mixed_in());
    add_to_hidden(n, thread, layer.o, o, rows_.mixed_in(), step.rows);
    team_.barrier();
    begin(step, n, thread, layer.mlp_norm, gate_up);
    gate(n, thread, layer.gate_up, gate_up, step.rows);
    team_.barrier();
    add_adapters(thread, n, down, rows_.mlp_in());
    add_to_hidden(n, thread, layer.down, down, rows_.mlp_in(), step.rows);
    team_.barrier();
  }

  // The first half of attention and MLP: norm, and what the adapters add to the maps that follow.
  template <int N>
  void begin(const Step& step, int n, int thread, const float* weight, const Fused (&maps)[N]) {
    for (int u; (u = team_.take(thread, batch_.units.size())) >= 0;) {
      const Unit& unit = batch_.units[u];
      for (int r = unit.first; r < unit.first + unit.count; r++) {
        norm_row(rows_.hidden(r), weight, rows_.x(r));
        if (maps[0].site == Q) clear_block(step, n, r);
      }
      add_adapter(unit, n, maps, rows_.x_in());
    }
    team_.barrier();
  }

  void clear_block(const Step& step, int layer, int row) {
    const Segment& part = step.segment[batch_.segment_of[row]];
    int position = part.position + row - part.first;
    if (position % LANES == 0) attention_.cache().clear(layer, part.blocks[position / LANES]);
  }

  template <int N>
  void add_adapters(int thread, int layer, const Fused (&maps)[N], const Input& in) {
    if (!batch_.has_adapters) return;
    for (int u; (u = team_.take(thread, batch_.units.size())) >= 0;)
      add_adapter(batch_.units[u], layer, maps, in);
    team_.barrier();
  }

  // What A of the unit's adapter makes of its rows for each of the maps. Where every adapter has few rows, also what
  // its B makes of that: then each of the many is read in one stream, and not in pieces, tile by tile.
  template <int N>
  void add_adapter(const Unit& unit, int layer, const Fused (&maps)[N], const Input& in) {
    if (!unit.sites) return;
    Input x{in.row(unit.first), in.stride, in.width};
    for (int m = 0; m < N; m++) {
      const Site& at = unit.sites[layer * SITES + maps[m].site];
      if (at.rank == 0) continue;
      Narrow s = narrow_rows(unit.first, m);
      shrink(s, unit.count, at, x, has_tiles_);
      if (batch_.has_taps) hand_out(unit, layer * SITES + maps[m].site, at.rank, s);
      if (!batch_.streams) continue;
      for (int tile = 0; tile < maps[m].tiles; tile++)
        expand(unit.count, at, tile, s, has_tiles_, [&, place = maps[m].place(tile) * LANES](int r, __m512 sum) {
          _mm512_storeu_ps(rows_.delta(unit.first + r) + place, sum);
        });
    }
  }

  // What A makes of the tapped rows of a unit, as it goes on to B: rounded to bfloat16.
  void hand_out(const Unit& unit, int site, int ranks, const Narrow& s) {
    for (int r = 0; r < unit.count; r++)
      if (const Segment* part = batch_.tapped_by[unit.first + r])
        for (int rank = 0; rank < ranks; rank++) part->taps[part->tap[site] + rank] = widen(s.row(r)[rank]);
  }

  Narrow narrow_rows(int row, int map) {
    return {rows_.shrunk(row, map, batch_.rank_width), FUSED * batch_.rank_width};
  }

  // y ← scale · y + B s, in the one or two tiles of a block that has just been multiplied.
  template <int N>
  auto adapt(int layer, const Fused (&maps)[N]) {
    return [this, layer, &maps](Sums& y, const Block& block) {
      for (int c = 0; batch_.has_adapters && c < block.count; c++) {
        int m = 0;
        while (!maps[m].has(block.tile + c)) m++;
        for (int r = 0, count; r < block.rows; r += count) {
          const Site* sites = batch_.sites_of[block.first + r];
          for (count = 1; r + count < block.rows && batch_.sites_of[block.first + r + count] == sites;) count++;
          if (const Site* at = sites + layer * SITES + maps[m].site; sites && at->rank)
            adapt_tile(y, c, r, count, *at, m, maps[m], block);
        }
      }
    };
  }

  void adapt_tile(Sums& y, int c, int first, int count, const Site& at, int m, const Fused& map, const Block& block) {
    int row = block.first + first, tile = (block.tile + c - map.first) / map.stride;
    if (!batch_.streams)
      return expand(count, at, tile, narrow_rows(row, m), has_tiles_,
                    [&](int r, __m512 sum) { add_to(y[first + r][c], at, tile, sum); });
    for (int r = 0; r < count; r++)
      add_to(y[first + r][c], at, tile, _mm512_loadu_ps(rows_.delta(row + r) + (block.tile + c) * LANES));
  }

  static __m512 biased(__m512 y, const float* bias, int tile) {
    return bias ? _mm512_add_ps(y, _mm512_loadu_ps(bias + tile * LANES)) : y;
  }

  template <int N>
  void project(int n, int thread, const Linear& map, const Fused (&maps)[N], int rows) {
    auto finish = [&](int row, int tile, int count, float (*y)[LANES]) {
      for (int c = 0; c < count; c++)
        _mm512_storeu_ps(rows_.qkv(row) + (tile + c) * LANES, biased(_mm512_loadu_ps(y[c]), map.bias, tile + c));
    };
    product(team_, thread, has_tiles_, rows_.x_in(), rows, map, adapt(n, maps), finish);
  }

  template <int N>
  void add_to_hidden(int n, int thread, const Linear& map, const Fused (&maps)[N], const Input& in, int rows) {
    auto finish = [&](int row, int tile, int count, float (*y)[LANES]) {
      for (int c = 0; c < count; c++) {
        float* at = rows_.hidden(row) + (tile + c) * LANES;
        __mmask16 there = mask(base_.d_model - (tile + c) * LANES);
        __m512 sum = biased(_mm512_loadu_ps(y[c]), map.bias, tile + c);
        _mm512_mask_storeu_ps(at, there, _mm512_add_ps(sum, _mm512_maskz_loadu_ps(there, at)));
      }
    };
    product(team_, thread, has_tiles_, in, rows, map, adapt(n, maps), finish);
  }

  template <int N>
  void gate(int n, int thread, const Linear& map, const Fused (&maps)[N], int rows) {
    auto finish = [&](int row, int tile, int, float (*y)[LANES]) {
      __m512 gate = biased(_mm512_loadu_ps(y[0]), map.bias, tile);
      __m512 up = biased(_mm512_loadu_ps(y[1]), map.bias, tile + 1);
      __mmask16 there = mask(base_.d_mlp - tile / 2 * LANES);
      _mm256_mask_storeu_epi16(rows_.mlp(row) + tile / 2 * LANES, there, narrow(_mm512_mul_ps(silu(gate), up)));
    };
    product(team_, thread, has_tiles_, rows_.x_in(), rows, map, adapt(n, maps), finish);
  }

  // ---- the head

  void choose(const Step& step, int thread) {
    if (step.wanted == 0) return;
    for (int n; (n = team_.take(thread, step.wanted)) >= 0;)
      norm_row(rows_.hidden(batch_.wanted_row[n]), base_.final_norm, rows_.last(n));
    float* best = rows_.best(thread, step.wanted);
    int32_t *best_id = rows_.best_id(thread, step.wanted), *bad = rows_.bad(thread, step.wanted);
    std::fill_n(best, size_t(step.wanted) * LANES, -INFINITY);
    std::fill_n(bad, step.wanted, 0);
    team_.barrier();
    __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    auto finish = [&](int n, int tile, int count, float (*y)[LANES]) {
      for (int c = 0; c < count; c++) {
        int id = (tile + c) * LANES;
        __mmask16 there = mask(base_.vocab - id);
        __m512 logits = _mm512_loadu_ps(y[c]), now = _mm512_loadu_ps(best + n * LANES);
        if (n < step.kept) _mm512_mask_storeu_ps(step.logits + size_t(n) * base_.vocab + id, there, logits);
        bad[n] |= _mm512_mask_fpclass_ps_mask(there, logits, 0x99);  // a NaN or an infinity
        __mmask16 reached = _mm512_mask_cmp_ps_mask(there, logits, now, _CMP_GE_OQ);
        if (!reached) continue;
        // Who takes over what others have left may come to a lower id later, so of equal logits the lower id stays.
        __m512i ids = _mm512_add_epi32(lane, _mm512_set1_epi32(id)), best_ids = _mm512_loadu_si512(best_id + n * LANES);
        __mmask16 equal = _mm512_mask_cmp_ps_mask(reached, logits, now, _CMP_EQ_OQ);
        __mmask16 better = reached & ~_mm512_mask_cmpgt_epi32_mask(equal, ids, best_ids);
        _mm512_mask_storeu_ps(best + n * LANES, better, logits);
        _mm512_mask_storeu_epi32(best_id + n * LANES, better, ids);
      }
    };
    product(team_, thread, has_tiles_, rows_.last_in(), step.wanted, base_.head, nullptr, finish);
  }

  int32_t likeliest(const Step& step, int n) {
    float best = -INFINITY;
    int32_t id = -1;
    for (int thread = 0; thread < team_.size(); thread++) {
      const float* found = rows_.best(thread, step.wanted) + n * LANES;
      const int32_t* ids = rows_.best_id(thread, step.wanted) + n * LANES;
      if (rows_.bad(thread, step.wanted)[n]) return -1;
      for (int i = 0; i < LANES; i++)
        if (found[i] > best || (found[i] == best && ids[i] < id)) best = found[i], id = ids[i];
    }
    return id;
  }

  Shape shape_;
  const Base& base_;
  std::vector<Layer> layers_;
  Team team_;
  bool has_tiles_;
  Batch batch_;
  Rows rows_;
  Attention attention_;
};

}  // namespace
