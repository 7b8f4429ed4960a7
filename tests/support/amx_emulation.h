// The tiles of AMX in software, for processors that have none: what the manual says of each instruction, and slowly.
// Included before engine.cpp, so that the path for AMX can be tried out where it could not run.
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define __AMX_BF16__ 1
#define syscall(...) 0  // the permission is granted
#define _tile_loadconfig(config) ((void)(config))
#define _tile_release() ((void)0)
#define _tile_zero(tile) memset(emulated::tiles[tile], 0, sizeof emulated::tiles[tile])
#define _tile_loadd(tile, base, stride) emulated::load(tile, base, stride)
#define _tile_stream_loadd(tile, base, stride) emulated::load(tile, base, stride)
#define _tile_stored(tile, base, stride) emulated::store(tile, base, stride)
#define _tile_dpbf16ps(sum, a, b) emulated::multiply(sum, a, b)

namespace emulated {

constexpr int ROWS = 16, BYTES = 64;
static thread_local uint8_t tiles[8][ROWS][BYTES];

inline void load(int tile, const void* base, size_t stride) {
  for (int row = 0; row < ROWS; row++) memcpy(tiles[tile][row], (const char*)base + row * stride, BYTES);
}

inline void store(int tile, void* base, size_t stride) {
  for (int row = 0; row < ROWS; row++) memcpy((char*)base + row * stride, tiles[tile][row], BYTES);
}

inline float number(int tile, int row, int at) {
  uint16_t half;
  memcpy(&half, tiles[tile][row] + 2 * at, 2);
  uint32_t bits = uint32_t(half) << 16;
  float found;
  memcpy(&found, &bits, 4);
  return found;
}

inline void multiply(int sum, int a, int b) {  // even and odd places are summed apart, then added
  for (int row = 0; row < ROWS; row++)
    for (int column = 0; column < 16; column++) {
      float even = 0, odd = 0, before;
      for (int k = 0; k < 16; k++) {
        even += number(a, row, 2 * k) * number(b, k, 2 * column);
        odd += number(a, row, 2 * k + 1) * number(b, k, 2 * column + 1);
      }
      uint8_t* place = tiles[sum][row] + 4 * column;
      memcpy(&before, place, 4);
      before += even + odd;
      memcpy(place, &before, 4);
    }
}

}  // namespace emulated
