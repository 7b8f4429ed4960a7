// The same products on AMX's tiles, where the processor has them.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "gemm.h"

namespace {

#ifdef __AMX_BF16__

inline bool allow_tiles() {  // Linux grants the tiles' registers to a process that asks
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}

inline void set_tiles() {  // all eight: 16 rows of 64 bytes
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
  } set;
  for (int n = 0; n < 8; n++) set.bytes[n] = 64, set.rows[n] = 16;
  _tile_loadconfig(&set);
}

inline void release_tiles() { _tile_release(); }

inline void clear_tiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

template <int H, int C>
void load_tiles(const Sums& y) {
  constexpr int step = TILES * LANES * 4;
  _tile_loadd(0, y[0][0], step);
  if (C == 2) _tile_loadd(1, y[0][1], step);
  if (H == 2) _tile_loadd(2, y[16][0], step);
  if (H == 2 && C == 2) _tile_loadd(3, y[16][1], step);
}

template <int H, int C>
void store_tiles(Sums& y) {
  constexpr int step = TILES * LANES * 4;
  _tile_stored(0, y[0][0], step);
  if (C == 2) _tile_stored(1, y[0][1], step);
  if (H == 2) _tile_stored(2, y[16][0], step);
  if (H == 2 && C == 2) _tile_stored(3, y[16][1], step);
}

// Adds what H · 16 rows give with inputs [first, last) of one or two tiles of outputs; rows behind the last one are
// read, and what they give is ignored. Weights stay in the first-level cache for the next rows, so rows pass it by.
// meanwhile() is called once a tile of inputs, for what the rest of the core can do.
template <int H, int C, class Meanwhile>
void multiply_amx(Sums& y, const Input& in, const Linear& map, int tile, Span k, Ahead ahead, Meanwhile meanwhile) {
  const bf16 *w = map.w + size_t(tile) * size_of_tile(map), *w1 = w + size_of_tile(map);
  int stride = in.stride * 2;
  if (k.first == 0) clear_tiles();
  else load_tiles<H, C>(y);
  for (int i = k.first; i < k.last; i += 2 * PAIRS) {
    for (int n = 0; n < 4 * ahead.lines; n++, ahead.place += 32) _mm_prefetch((const char*)ahead.place, _MM_HINT_T1);
    _tile_loadd(6, w + size_t(i) * LANES, 64);
    if (C == 2) _tile_loadd(7, w1 + size_t(i) * LANES, 64);
    _tile_stream_loadd(4, in.row(0) + i, stride);
    _tile_dpbf16ps(0, 4, 6);
    if (C == 2) _tile_dpbf16ps(1, 4, 7);
    if (H == 2) {
      _tile_stream_loadd(5, in.row(16) + i, stride);
      _tile_dpbf16ps(2, 5, 6);
      if (C == 2) _tile_dpbf16ps(3, 5, 7);
    }
    meanwhile();
  }
  store_tiles<H, C>(y);
}

template <int C, class Meanwhile>
void multiply_tiles_amx(Sums& y, const Input& in, int rows, const Linear& map, int tile, Span k, Ahead ahead,
                        Meanwhile meanwhile) {
  if (rows > 16) multiply_amx<2, C>(y, in, map, tile, k, ahead, meanwhile);
  else multiply_amx<1, C>(y, in, map, tile, k, ahead, meanwhile);
}

// What B makes of 16 rows of s, one tile of outputs.
inline void expand_tile(float (&y)[16][LANES], const bf16* b, int pairs, const bf16* s, int s_step) {
  _tile_zero(0);
  for (int p = 0; p < pairs; p += PAIRS) {
    _tile_loadd(4, s + 2 * p, s_step * 2);
    _tile_loadd(6, b + size_t(p) * 2 * LANES, 64);
    _tile_dpbf16ps(0, 4, 6);
  }
  _tile_stored(0, y[0], LANES * 4);
}

// What up to 16 ranks of A make of H · 16 rows.
template <int H>
void shrink_tiles(float (&y)[GROUP_ROWS][LANES], const bf16* a, int ranks, const Input& in) {
  clear_tiles();
  for (int k = 0; k < in.width; k += 2 * PAIRS) {
    _tile_loadd(6, a + size_t(k) * ranks, ranks * 4);
    _tile_loadd(4, in.row(0) + k, in.stride * 2);
    _tile_dpbf16ps(0, 4, 6);
    if (H > 1) {
      _tile_loadd(5, in.row(16) + k, in.stride * 2);
      _tile_dpbf16ps(1, 5, 6);
    }
    if (H > 2) {
      _tile_loadd(4, in.row(32) + k, in.stride * 2);
      _tile_dpbf16ps(2, 4, 6);
    }
    if (H > 3) {
      _tile_loadd(5, in.row(48) + k, in.stride * 2);
      _tile_dpbf16ps(3, 5, 6);
    }
  }
  _tile_stored(0, y[0], LANES * 4);
  if (H > 1) _tile_stored(1, y[16], LANES * 4);
  if (H > 2) _tile_stored(2, y[32], LANES * 4);
  if (H > 3) _tile_stored(3, y[48], LANES * 4);
}

#else

inline bool allow_tiles() { return false; }
inline void set_tiles() {}
inline void release_tiles() {}

template <int C, class Meanwhile>
void multiply_tiles_amx(Sums&, const Input&, int, const Linear&, int, Span, Ahead, Meanwhile) {}

inline void expand_tile(float (&)[16][LANES], const bf16*, int, const bf16*, int) {}

template <int H>
void shrink_tiles(float (&)[GROUP_ROWS][LANES], const bf16*, int, const Input&) {}

#endif

}  // namespace
