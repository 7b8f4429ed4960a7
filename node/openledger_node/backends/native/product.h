// A whole product, shared out to the team: blocks of rows through pairs of tiles, each finished while the next runs.
#pragma once

#include <algorithm>
#include <type_traits>

#include "gemm_amx.h"
#include "team.h"

namespace {

constexpr int FINISHED_ROWS = 2;            // rows that are finished while a tile of the next block is multiplied
constexpr int PART_ROWS = 256;              // rows that a thread works on at once
constexpr int CACHED_INPUTS = 576;          // inputs of a pair of tiles that the first-level cache has room for
constexpr size_t INPUT_BYTES = 1 << 20;     // of rows that the second-level cache has room for

struct Block {  // rows of a product and the one or two tiles of it that they go through at once
  int place = 0, first = 0, rows = 0, tile = 0, count = 0, done = 0;
};

template <class Meanwhile>
void multiply_block(Sums& y, const Block& at, bool has_tiles, const Input& in, const Linear& map, Span k, Ahead ahead,
                    Meanwhile meanwhile) {
  Input x{in.row(at.first), in.stride, in.width};
  bool is_pair = at.count == TILES;
  if (has_tiles && is_pair) multiply_tiles_amx<TILES>(y, x, at.rows, map, at.tile, k, ahead, meanwhile);
  else if (has_tiles) multiply_tiles_amx<1>(y, x, at.rows, map, at.tile, k, ahead, meanwhile);
  else if (is_pair) multiply_tiles<TILES>(y, x.rows, x.stride, at.rows, map, at.tile, ahead);
  else multiply_tiles<1>(y, x.rows, x.stride, at.rows, map, at.tile, ahead);
}

// Inputs of a pair of tiles are cut so that its weights stay in the first-level cache while the part's rows go by.
inline int cut_of(int width, int blocks, bool has_tiles) { return has_tiles && blocks > 1 ? CACHED_INPUTS : width; }

// `rows` rows through a linear map. adapt(y, block), where it is given, changes the sums of a block that has just been
// multiplied; finish(row, tile, count, y) then gets each row's one or two tiles.
template <class Adapt, class Finish>
void product(Team& team, int thread, bool has_tiles, const Input& in, int rows, const Linear& map, Adapt adapt,
             Finish finish) {
  int height = has_tiles ? AMX_ROWS : ROWS;  // rows of a block
  int passes = (map.tiles + TILES - 1) / TILES, blocks = (rows + height - 1) / height;
  int parts = (rows + PART_ROWS - 1) / PART_ROWS;  // many rows are shared out as well
  bool is_long = size_t(rows) * in.stride * sizeof(bf16) > INPUT_BYTES;
  Sums y[PART_ROWS / AMX_ROWS];
  Block last;
  auto finish_rows = [&](int count) {  // of the block before this one
    for (; count > 0 && last.done < last.rows; count--, last.done++)
      finish(last.first + last.done, last.tile, last.count, y[last.place][last.done]);
  };
  for (int unit; (unit = team.take(thread, passes * parts)) >= 0;) {
    int part = is_long ? unit / passes : unit % parts, tile = (is_long ? unit % passes : unit / parts) * TILES;
    int from = blocks * part / parts, to = blocks * (part + 1) / parts, count = std::min(TILES, map.tiles - tile);
    Fetch fetch{map, tile + TILES, is_long || part == parts - 1 ? to - from : 0};
    int width = round_up(map.k, 2 * PAIRS), cut = cut_of(width, to - from, has_tiles);
    if (cut < width && last.place == 0) finish_rows(height);
    for (int k = 0; k < width; k += cut)
      for (int n = from; n < to; n++) {
        int place = cut < width ? n - from : last.place == 0, first = n * height;
        Block now{place, first, std::min(height, rows - first), tile, count};
        Span span{k, std::min(width, k + cut)};
        Ahead ahead = fetch.ahead(n - from, k);
        multiply_block(y[place], now, has_tiles, in, map, span, ahead, [&] { finish_rows(FINISHED_ROWS); });
        finish_rows(height);
        if (span.last < width) continue;
        if constexpr (!std::is_null_pointer_v<Adapt>) adapt(y[place], now);
        last = now;
      }
  }
  finish_rows(height);
}

}  // namespace
