// What an adapter's A and B make of its rows.
#pragma once

#include <algorithm>

#include "gemm_amx.h"

namespace {

constexpr int TILE_ROWS_MIN = 4;    // rows of one adapter that are worth a tile of 16
constexpr int ADAPTER_AHEAD = 1024;  // numbers of an adapter's matrix that are fetched ahead

// R rows through one tile of an adapter's matrix, `pairs` long; `step` is from one pair to the next. What lies `ahead`
// numbers behind it is fetched.
template <class Sum, int R>
inline __attribute__((always_inline)) void multiply_thin(__m512 (&y)[R], const bf16* const* x, const bf16* w,
                                                         int pairs, int step, int ahead) {
  for (int r = 0; r < R; r++) y[r] = _mm512_setzero_ps();
  for (int first = 0; first < pairs; first += PAIRS) {
    Sum sum[R];
    for (int k = first; k < std::min(pairs, first + PAIRS); k++) {
      __m512i weights = _mm512_loadu_si512(w + size_t(k) * step);
      _mm_prefetch((const char*)(w + size_t(k) * step + ahead), _MM_HINT_T0);
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) sum[r].add(pair(x[r] + 2 * k), weights);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) y[r] = _mm512_add_ps(y[r], sum[r].total());
  }
}

struct Narrow {  // what A makes of rows that stand `step` apart: a row's ranks, then zeros to the end of a tile
  bf16* rows;
  int step;
  bf16* row(int n) const { return rows + size_t(n) * step; }
};

// One tile of R rows of one adapter: write(row, B s).
template <class Sum, int R, class Write>
inline void expand_rows(int row, const Site& at, int tile, const Narrow& s, const Write& write) {
  __m512 sum[R];
  const bf16* in[R];
  for (int r = 0; r < R; r++) in[r] = s.row(row + r);
  multiply_thin<Sum, R>(sum, in, at.b + size_t(tile) * at.even * LANES, at.even / 2, 2 * LANES, ADAPTER_AHEAD);
  for (int r = 0; r < R; r++) write(row + r, sum[r]);
}

template <class Sum, class Write>
void expand_thin(int rows, const Site& at, int tile, const Narrow& s, const Write& write) {
  int r = 0;
  for (; r + 8 <= rows; r += 8) expand_rows<Sum, 8>(r, at, tile, s, write);
  for (; r + 2 <= rows; r += 2) expand_rows<Sum, 2>(r, at, tile, s, write);
  for (; r < rows; r++) expand_rows<Sum, 1>(r, at, tile, s, write);
}

// The same for many rows, 16 of them at a time.
template <class Write>
void expand_in_tiles(int rows, const Site& at, int tile, const Narrow& s, const Write& write) {
  alignas(64) float sum[16][LANES];
  for (int first = 0; first < rows; first += 16) {
    expand_tile(sum, at.b + size_t(tile) * at.even * LANES, at.even / 2, s.row(first), s.step);
    for (int n = first; n < std::min(rows, first + 16); n++) write(n, _mm512_load_ps(sum[n - first]));
  }
}

template <class Write>
void expand(int rows, const Site& at, int tile, const Narrow& s, bool has_tiles, const Write& write) {
  if (!has_tiles) expand_thin<InPairs>(rows, at, tile, s, write);
  else if (rows < TILE_ROWS_MIN) expand_thin<InTiles>(rows, at, tile, s, write);
  else expand_in_tiles(rows, at, tile, s, write);
}

// One row and tile of a product: y ← scale · y + B s, with the scale of DoRA or 1.
inline void add_to(float* y, const Site& at, int tile, __m512 sum) {
  __m512 scale = at.scale ? _mm512_loadu_ps(at.scale + tile * LANES) : _mm512_set1_ps(1.0f);
  _mm512_storeu_ps(y, _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(y), scale), sum));
}

struct Shrunk {  // what up to 16 ranks [first, …) of A make of rows that stand `step` apart
  bf16* s;
  int step, first, ranks;

  // What stands behind the last rank becomes zero, up to where a tile ends.
  void store(int row, __m512 sum) const {
    bf16* at = s + size_t(row) * step + first;
    __m256i numbers = _mm256_maskz_mov_epi16((1u << ranks) - 1, narrow(sum));
    if (first % (2 * PAIRS) == 0) _mm512_storeu_si512(at, _mm512_zextsi256_si512(numbers));
    else _mm256_storeu_si256((__m256i*)at, numbers);
  }
};

template <class Sum, int R>
void shrink_rows(const Shrunk& out, int row, const bf16* a, const Input& in) {
  __m512 sum[R];
  const bf16* x[R];
  for (int r = 0; r < R; r++) x[r] = in.row(row + r);
  multiply_thin<Sum, R>(sum, x, a, in.width / 2, 2 * out.ranks, ADAPTER_AHEAD);
  for (int r = 0; r < R; r++) out.store(row + r, sum[r]);
}

template <class Sum>
void shrink_thin(const Shrunk& out, int rows, const bf16* a, const Input& in) {
  int r = 0;
  for (; r + 4 <= rows; r += 4) shrink_rows<Sum, 4>(out, r, a, in);
  for (; r < rows; r++) shrink_rows<Sum, 1>(out, r, a, in);
}

// The same for many rows.
inline void shrink_in_tiles(const Shrunk& out, int rows, const bf16* a, const Input& in) {
  alignas(64) float sum[GROUP_ROWS][LANES];
  if (rows > 48) shrink_tiles<4>(sum, a, out.ranks, in);
  else if (rows > 32) shrink_tiles<3>(sum, a, out.ranks, in);
  else if (rows > 16) shrink_tiles<2>(sum, a, out.ranks, in);
  else shrink_tiles<1>(sum, a, out.ranks, in);
  for (int r = 0; r < rows; r++) out.store(r, _mm512_load_ps(sum[r]));
}

// What A makes of the rows of one adapter.
inline void shrink(const Narrow& s, int rows, const Site& at, const Input& in, bool has_tiles) {
  for (int rank = 0; rank < at.rank; rank += LANES) {
    const bf16* a = at.a + size_t(rank) * in.width;
    Shrunk out{s.rows, s.step, rank, std::min(LANES, at.rank - rank)};
    if (!has_tiles) shrink_thin<InPairs>(out, rows, a, in);
    else if (rows < TILE_ROWS_MIN) shrink_thin<InTiles>(out, rows, a, in);
    else shrink_in_tiles(out, rows, a, in);
  }
}

}  // namespace
