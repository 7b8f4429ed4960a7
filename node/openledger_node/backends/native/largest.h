// The largest numbers of a row: the likeliest tokens of its logits.
#pragma once

#include "simd.h"

namespace {

// The `count` largest of `width` numbers, the largest first and of equal ones the lower place; a NaN is the smallest.
inline void largest(const float* row, int width, int count, int32_t* places, float* found) {
  int held = 0;
  auto put = [&](int place) {
    float value = row[place];
    int n = held < count ? held++ : count - 1;
    for (; n > 0 && value == value && !(found[n - 1] >= value); n--) found[n] = found[n - 1], places[n] = places[n - 1];
    found[n] = value, places[n] = place;
  };
  for (int i = 0; i < count; i++) put(i);
  for (int i = count; i < width; i += LANES) {
    __mmask16 there = mask(width - i);
    __m512 numbers = _mm512_maskz_loadu_ps(there, row + i), least = _mm512_set1_ps(found[count - 1]);
    for (unsigned more = _mm512_mask_cmp_ps_mask(there, numbers, least, _CMP_NLE_UQ); more; more &= more - 1) {
      int place = i + __builtin_ctz(more);
      if (row[place] == row[place] && !(found[count - 1] >= row[place])) put(place);
    }
  }
}

}  // namespace
