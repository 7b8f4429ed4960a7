// Products of many rows and one or two tiles of a linear map, in registers.
#pragma once

#include "simd.h"

namespace {

constexpr int ROWS = 8;         // rows of the batch that one pass over a tile serves
constexpr int AMX_ROWS = 32;    // the same on AMX: two tiles of rows by two of outputs
constexpr int PAIRS = 16;       // pairs of a tile of AMX; inputs are padded to so many
constexpr int TILES = 2;        // tiles of a product that one pass serves; gate and up are such a pair
constexpr int GROUP_ROWS = 64;  // rows of one adapter that one pass over its A serves, at most

template <int R, int C>
inline __attribute__((always_inline)) void clear(__m512 (&sum)[R][C]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) sum[r][c] = _mm512_setzero_ps();
}

struct Input {  // rows of a product: `stride` numbers apart, of which `width` are multiplied
  const bf16* rows;
  int stride, width;
  const bf16* row(int n) const { return rows + size_t(n) * stride; }
};

inline size_t size_of_tile(const Linear& map) { return size_t(round_up(map.k, 2 * PAIRS)) * LANES; }

struct Span { int first, last; };

struct Ahead {  // weights that come next: so many cache lines of them are fetched while four pairs are multiplied
  const bf16* place;
  int lines;
};

// The next pair of tiles, fetched in parts while blocks of rows are multiplied with this one; 0 blocks: not at all.
struct Fetch {
  const Linear& map;
  int tile, blocks;

  Ahead ahead(int block, int k) const {  // from input k on
    if (blocks == 0) return {nullptr, 0};
    int lines = (4 * TILES + blocks - 1) / blocks, before = block * lines;
    size_t first = (size_t(before) * (map.k / 8) + size_t(lines) * (k / 8)) * 32;
    return {map.w + tile * size_of_tile(map) + first, before < 4 * TILES ? lines : 0};
  }
};

// Adds dots of R rows with C tiles, `pairs` long; `step` is from one pair of a tile to its next.
template <int R, int C>
inline __attribute__((always_inline)) void multiply(__m512 (&sum)[R][C], const bf16* const (&x)[R],
                                                    const bf16* const (&w)[C], int pairs, int step, Ahead ahead) {
  auto one = [&](int k) __attribute__((always_inline)) {
    __m512i weights[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) weights[c] = _mm512_loadu_si512(w[c] + size_t(k) * step);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      __m512i both = pair(x[r] + 2 * k);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) sum[r][c] = dot(sum[r][c], both, weights[c]);
    }
  };
  int k = 0;
  for (; k + 4 <= pairs; k += 4) {
    for (int n = 0; n < ahead.lines; n++, ahead.place += 32) _mm_prefetch((const char*)ahead.place, _MM_HINT_T1);
    one(k), one(k + 1), one(k + 2), one(k + 3);
  }
  for (; k < pairs; k++) one(k);
}

using Sums = float[AMX_ROWS][TILES][LANES];

template <int R, int C>
void multiply_rows(Sums& y, int first, const bf16* x, int width, const Linear& map, int tile, Ahead ahead) {
  __m512 sum[R][C];
  const bf16 *in[R], *w[C];
  for (int r = 0; r < R; r++) in[r] = x + size_t(r) * width;
  for (int c = 0; c < C; c++) w[c] = map.w + size_t(tile + c) * size_of_tile(map);
  clear(sum);
  multiply<R, C>(sum, in, w, round_up(map.k, 2 * PAIRS) / 2, 2 * LANES, ahead);
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) _mm512_storeu_ps(y[first + r][c], sum[r][c]);
}

// Rows x (rows, width) through one or two tiles of a linear map.
template <int C>
void multiply_tiles(Sums& y, const bf16* x, int width, int rows, const Linear& map, int tile, Ahead ahead) {
  if (rows == ROWS) return multiply_rows<ROWS, C>(y, 0, x, width, map, tile, ahead);
  int r = 0;
  for (; r + 4 <= rows; r += 4, ahead.lines = 0)
    multiply_rows<4, C>(y, r, x + size_t(r) * width, width, map, tile, ahead);
  for (; r + 2 <= rows; r += 2, ahead.lines = 0)
    multiply_rows<2, C>(y, r, x + size_t(r) * width, width, map, tile, ahead);
  for (; r < rows; r++, ahead.lines = 0)
    multiply_rows<1, C>(y, r, x + size_t(r) * width, width, map, tile, ahead);
}

}  // namespace
