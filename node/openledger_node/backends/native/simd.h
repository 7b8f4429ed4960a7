// Numbers: registers of 16 floats, pairs of bfloat16, and the functions that the step needs of them.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "abi.h"

namespace {

constexpr int LANES = 16;  // floats of a register, outputs of a tile, tokens of a block

inline int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

inline __mmask16 mask(int left) { return left >= LANES ? 0xffff : left <= 0 ? 0 : (1u << left) - 1; }

inline float widen(bf16 x) {
  uint32_t bits = uint32_t(x) << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}

inline __m512 widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

inline bf16 narrow(float x) {
  __m128i bits = (__m128i)_mm_cvtneps_pbh(_mm_set_ss(x));
  return bf16(_mm_extract_epi16(bits, 0));
}

inline __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

inline __m512 dot(__m512 sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

inline __m512i pair(const bf16* x) {  // the same two numbers in every lane
  int32_t both;
  memcpy(&both, x, 4);
  return _mm512_set1_epi32(both);
}

// Sums of products of pairs: as vdpbf16ps adds them, or as AMX does: even and odd numbers apart, 16 pairs at a time.
struct InPairs {
  __m512 sum = _mm512_setzero_ps();
  void add(__m512i a, __m512i b) { sum = dot(sum, a, b); }
  __m512 total() const { return sum; }
};

struct InTiles {
  __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
  static __m512 first(__m512i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
  static __m512 second(__m512i x) {
    return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(int(0xffff0000))));
  }
  void add(__m512i a, __m512i b) {
    even = _mm512_fmadd_ps(first(a), first(b), even);
    odd = _mm512_fmadd_ps(second(a), second(b), odd);
  }
  __m512 total() const { return _mm512_add_ps(even, odd); }
};

// e^x to about one unit in the last place: 2^n · p(r), p of degree 6 (Cephes' expf). NaN stays NaN: minimum and
// maximum give their second operand where one is no number.
inline __m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

inline __m512 silu(__m512 x) {
  __m512 e = exponential(_mm512_sub_ps(_mm512_setzero_ps(), x));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

inline float sum_of(__m512 x) { return _mm512_reduce_add_ps(x); }

// Store in / rms(in) · weight, `n` wide, register by register.
template <class Store>
void norm(const float* in, const float* weight, int n, float eps, Store store) {
  __m512 squares = _mm512_setzero_ps();
  for (int i = 0; i < n; i += LANES) {
    __m512 h = _mm512_maskz_loadu_ps(mask(n - i), in + i);
    squares = _mm512_fmadd_ps(h, h, squares);
  }
  __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(sum_of(squares) / float(n) + eps));
  for (int i = 0; i < n; i += LANES) {
    __m512 h = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask(n - i), in + i), scale);
    store(i, _mm512_mul_ps(h, _mm512_maskz_loadu_ps(mask(n - i), weight + i)));
  }
}

}  // namespace
