// What the memory and the processor give, measured: the floors of a step.
#pragma once

#include <chrono>
#include <thread>
#include <vector>

#include "memory.h"
#include "simd.h"

namespace {

inline void read_all(const char* memory, size_t bytes, int* out) {
  __m512i sum[8] = {};
  for (size_t i = 0; i + 512 <= bytes; i += 512)
#pragma GCC unroll 8
    for (int n = 0; n < 8; n++) {
      _mm_prefetch(memory + i + 4096 + 64 * n, _MM_HINT_T0);
      sum[n] = _mm512_xor_si512(sum[n], _mm512_load_si512(memory + i + 64 * n));
    }
  for (auto& part : sum) *out ^= _mm512_reduce_add_epi32(part);
}

// Products of bfloat16 from registers alone; returns a number that depends on all of them.
inline float multiply_all(int64_t rounds) {
  constexpr int CHAINS = 16;
  __m512 sum[CHAINS] = {};
  __m512i ones = _mm512_set1_epi32(0x3f803f80), twos = _mm512_set1_epi32(0x40004000);
  for (int64_t n = 0; n < rounds; n++) {
    asm volatile("" : "+v"(ones), "+v"(twos));
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++) sum[c] = dot(sum[c], ones, twos);
  }
  float all = 0;
  for (auto& part : sum) all += sum_of(part);
  return all;
}

// Runs work(n) on so many threads of their own.
template <class Work>
void run_on(int threads, Work work) {
  std::vector<std::thread> started;
  auto join = [&] { for (auto& thread : started) thread.join(); };
  try {
    for (int n = 0; n < threads; n++) started.emplace_back(work, n);
  } catch (...) {
    join();
    throw;
  }
  join();
}

}  // namespace
