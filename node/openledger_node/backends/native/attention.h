// Attention over the paged cache: rotation, a row's keys and values into their block, scores, softmax, values.
#pragma once

#include <cmath>
#include <vector>

#include "layout.h"

namespace {

constexpr int COLUMNS = 4;  // registers of channels that one pass over values serves

class Attention {
 public:
  Attention(const Shape& shape, const Batch& batch, Rows& rows, bool has_tiles)
      : shape_(shape), base_(shape.base), batch_(batch), rows_(rows), cache_(shape), has_tiles_(has_tiles) {
    make_tables();
  }

  Cache& cache() { return cache_; }

  // Rotate one row's queries and keys, and put its keys and values into their block.
  void place(const Segment& part, const Layer& layer, int n, int row) {
    int position = part.position + row - part.first, lane = position % LANES, d = base_.head_dim;
    float* all = rows_.qkv(row);
    for (int head = 0; head < base_.heads; head++)
      rotate(all + head * d, layer.q_norm, position, rows_.q(row) + head * d);
    for (int head = 0; head < base_.kv_heads; head++) {
      bf16 key[1024];
      rotate(all + shape_.q_width + head * d, layer.k_norm, position, key);
      bf16* keys = cache_.keys(n, part.blocks[position / LANES], head);
      for (int i = 0; i < d; i += 2) memcpy(keys + size_t(i) * LANES + lane * 2, key + i, 4);
      const float* value = all + shape_.q_width + shape_.kv_width + head * d;
      bf16* values = cache_.values(n, part.blocks[position / LANES], head) + size_t(lane / 2) * shape_.head_width * 2;
      __mmask32 half = lane % 2 ? 0xaaaaaaaa : 0x55555555;  // this token's half of each pair
      for (int i = 0; i < d; i += LANES) {
        __m512i bits = _mm512_cvtepu16_epi32(narrow(_mm512_maskz_loadu_ps(mask(d - i), value + i)));
        _mm512_mask_storeu_epi16(values + i * 2, half, _mm512_or_si512(bits, _mm512_slli_epi32(bits, 16)));
      }
    }
  }

  void attend(const Step& step, int n, const Task& task, float* scratch) {
    const Segment& part = step.segment[task.segment];
    int count = task.count * shape_.share;
    if (const Task* next = &task + 1; next < batch_.tasks.data() + batch_.tasks.size())  // most likely ours as well
      fetch(cache_.keys(n, step.segment[next->segment].blocks[0], next->head), size_t(base_.head_dim) * LANES);
    for (int first = 0; first < count;) {
      int left = count - first;
      // NOTE: who is taken together changes no bit of anybody: each query has sums of its own.
      if (left >= 6) attend_queries<6>(part, n, task, first, scratch), first += 6;
      else if (left >= 4) attend_queries<4>(part, n, task, first, scratch), first += 4;
      else if (left >= 3) attend_queries<3>(part, n, task, first, scratch), first += 3;
      else attend_queries<1>(part, n, task, first, scratch), first += 1;
    }
  }

 private:
  void make_tables() {
    int half = base_.head_dim / 2;
    cos_.resize(size_t(base_.context) * half);
    sin_.resize(cos_.size());
    for (int position = 0; position < base_.context; position++)
      for (int i = 0; i < half; i++) {
        float angle = float(position) * base_.frequencies[i];
        cos_[size_t(position) * half + i] = std::cos(angle) * base_.rope_scale;
        sin_[size_t(position) * half + i] = std::sin(angle) * base_.rope_scale;
      }
  }

  void rotate(float* head, const float* weight, int position, bf16* out) {
    int half = base_.head_dim / 2;
    if (weight)
      norm(head, weight, 2 * half, base_.norm_eps,
           [&](int i, __m512 y) { _mm512_mask_storeu_ps(head + i, mask(2 * half - i), y); });
    const float *cos = &cos_[size_t(position) * half], *sin = &sin_[size_t(position) * half];
    for (int i = 0; i < half; i += LANES) {
      __mmask16 there = mask(half - i);
      __m512 a = _mm512_maskz_loadu_ps(there, head + i), b = _mm512_maskz_loadu_ps(there, head + half + i);
      __m512 c = _mm512_maskz_loadu_ps(there, cos + i), s = _mm512_maskz_loadu_ps(there, sin + i);
      _mm256_mask_storeu_epi16(out + i, there, narrow(_mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s))));
      _mm256_mask_storeu_epi16(out + half + i, there, narrow(_mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s))));
    }
  }

  // R queries [first, …) of a task, numbered token by token: scores, softmax, and the values' weighted sum.
  template <int R>
  void attend_queries(const Segment& part, int n, const Task& task, int first, float* scores) {
    int row[R], head[R], seen[R];
    const bf16 *query[R], *chance[R];
    bf16* chances = reinterpret_cast<bf16*>(scores + size_t(QUERIES) * batch_.context_width);
    for (int r = 0; r < R; r++) {
      int token = task.first + (first + r) / shape_.share;
      head[r] = task.head * shape_.share + (first + r) % shape_.share;
      row[r] = part.first + token;
      seen[r] = part.position + token + 1;
      query[r] = rows_.q(row[r]) + head[r] * base_.head_dim;
      chance[r] = chances + size_t(r) * batch_.context_width;
    }
    int blocks = (seen[R - 1] + LANES - 1) / LANES;
    __m512 most[R], share[R];
    score<R>(part, n, task.head, query, seen, blocks, scores, most);
    for (int r = 0; r < R; r++)
      share[r] = soften(scores + size_t(r) * batch_.context_width, const_cast<bf16*>(chance[r]), seen[r], blocks,
                        most[r]);
    for (int column = 0; column < shape_.head_width / LANES;) {
      bool is_wide = shape_.head_width / LANES - column >= COLUMNS;
      if (is_wide) mix<R, COLUMNS>(part, n, task.head, chance, blocks, column, row, head, share);
      else mix<R, 1>(part, n, task.head, chance, blocks, column, row, head, share);
      column += is_wide ? COLUMNS : 1;
    }
  }

  // Scores of R queries over all blocks, four of them at once while there are so many.
  template <int R>
  void score(const Segment& part, int n, int kv_head, const bf16* const (&query)[R], const int (&seen)[R], int blocks,
             float* scores, __m512 (&most)[R]) {
    for (int r = 0; r < R; r++) most[r] = _mm512_set1_ps(-INFINITY);
    int b = 0;
    for (; b + 4 <= blocks; b += 4) score_blocks<R, 4>(part, n, kv_head, query, seen, b, scores, most);
    for (; b + 2 <= blocks; b += 2) score_blocks<R, 2>(part, n, kv_head, query, seen, b, scores, most);
    for (; b < blocks; b++) score_blocks<R, 1>(part, n, kv_head, query, seen, b, scores, most);
    for (int r = 0; r < R; r++) most[r] = _mm512_set1_ps(_mm512_reduce_max_ps(most[r]));
  }

  template <int R, int C>
  void score_blocks(const Segment& part, int n, int kv_head, const bf16* const (&query)[R], const int (&seen)[R],
                    int first, float* scores, __m512 (&most)[R]) {
    __m512 sum[R][C], scale = _mm512_set1_ps(1.0f / std::sqrt(float(base_.head_dim)));
    const bf16* keys[C];
    for (int c = 0; c < C; c++) {
      keys[c] = cache_.keys(n, part.blocks[first + c], kv_head);
      // Its values are wanted next. NOTE: processors with AMX fetch them sooner by themselves.
      if (!has_tiles_) fetch(keys[c] + size_t(base_.head_dim) * LANES, size_t(shape_.head_width) * LANES);
    }
    clear(sum);
    multiply<R, C>(sum, query, keys, base_.head_dim / 2, 2 * LANES, {nullptr, 0});
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        int at = (first + c) * LANES;
        __m512 s = _mm512_mask_mul_ps(_mm512_set1_ps(-INFINITY), mask(seen[r] - at), sum[r][c], scale);
        _mm512_storeu_ps(scores + size_t(r) * batch_.context_width + at, s);
        most[r] = _mm512_max_ps(most[r], s);
      }
  }

  static void fetch(const bf16* place, size_t count) {
    for (size_t i = 0; i < count; i += 32) _mm_prefetch((const char*)(place + i), _MM_HINT_T0);
  }

  // Chances e^(score − most) of what is seen, and one by their sum in every lane.
  __m512 soften(const float* scores, bf16* chances, int seen, int blocks, __m512 most) {
    __m512 total = _mm512_setzero_ps();
    for (int b = 0; b < blocks; b++) {
      __m512 e = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + b * LANES), most));
      e = _mm512_maskz_mov_ps(mask(seen - b * LANES), e);
      _mm256_storeu_si256((__m256i*)(chances + b * LANES), narrow(e));
      total = _mm512_add_ps(total, e);
    }
    return _mm512_set1_ps(1.0f / sum_of(total));
  }

  // C registers of channels of R queries: Σ chance · value · share.
  template <int R, int C>
  void mix(const Segment& part, int n, int kv_head, const bf16* const (&chance)[R], int blocks, int column,
           const int (&row)[R], const int (&head)[R], const __m512 (&share)[R]) {
    __m512 sum[R][C];
    clear(sum);
    for (int b = 0; b < blocks; b++) {
      const bf16 *all = cache_.values(n, part.blocks[b], kv_head), *values[C], *now[R];
      for (int c = 0; c < C; c++) values[c] = all + (column + c) * 2 * LANES;
      for (int r = 0; r < R; r++) now[r] = chance[r] + b * LANES;
      multiply<R, C>(sum, now, values, LANES / 2, 2 * shape_.head_width, {nullptr, 0});
    }
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        int at = (column + c) * LANES;
        _mm256_mask_storeu_epi16(rows_.mixed(row[r]) + head[r] * base_.head_dim + at, mask(base_.head_dim - at),
                                 narrow(_mm512_mul_ps(sum[r][c], share[r])));
      }
  }

  const Shape& shape_;
  const Base& base_;
  const Batch& batch_;
  Rows& rows_;
  Cache cache_;
  bool has_tiles_;
  std::vector<float> cos_, sin_;
};

}  // namespace
