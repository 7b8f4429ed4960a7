// One decoder step of the Llama family on the CPU: one call, one ragged batch, any mix of LoRA adapters in it.
//
// What makes it fast, in the order of what it gives:
//   · every weight is read once a step, in the order in which it lies in memory, by all rows together; the tile behind
//     the one that is multiplied is fetched meanwhile;
//   · keys and values lie in blocks of 16 tokens, laid out so that 16 scores, or 16 channels, are one register;
//   · the bare base and the row's adapter meet in registers: what LoRA adds is summed before a result is written;
//   · norms, rotation, SwiGLU, residuals and the greedy choice are the beginning or the end of a product.
//
// Numbers: weights, keys, values and the inputs of products are bfloat16; sums, the residual stream, norms, rotation
// and softmax are float32. The order of each sum is fixed, whoever else is in the batch and however a prompt is cut:
// the same request gives the same bits alone and in any batch.
//
// Layouts. "Pairs" (w, below) are what vdpbf16ps multiplies: two neighbours along the summed axis side by side.
//   product    [n/16][k/2][16][2]     16 outputs of a linear map, then the next 16; k padded to 32
//   lora A     [rank/16][k/2][16][2]  16 ranks, then the next; the last are as many as are left; k padded to 32
//   lora B     [n/16][rank/2][16][2]  as a product whose k is the rank, padded to an even number
//   keys       [d/2][16][2]           one block and head: channel pairs of 16 tokens
//   values     [8][d][2]              one block and head: token pairs of all channels (padded to 16)
//
// Where the processor has AMX, whole products run on its tiles, which lie in this very layout: 16 pairs of 16 outputs
// are one tile. They sum in another order than vdpbf16ps does, so a machine uses the one or the other for all rows;
// what is too small for tiles is summed in their order by plain registers, bit for bit. A tile is always loaded whole:
// what it reads behind the end of a matrix meets zeros, or gives outputs that nobody reads.
//
// Read on: abi.h, simd.h, team.h, memory.h; gemm.h, gemm_amx.h, product.h, lora.h; layout.h, attention.h, decoder.h;
// largest.h, measure.h. All are one translation unit, because what makes it fast is inlined.
#include <memory>

#include "decoder.h"
#include "largest.h"
#include "measure.h"

namespace {

// No exception may cross the C interface: it would end the process.
template <class Result, class Call>
Result guarded(Result failed, Call call) noexcept {
  try {
    return call();
  } catch (...) {  // no memory, or no thread
    return failed;
  }
}

}  // namespace

extern "C" {

enum { OPENED, NO_CACHE, NO_RESOURCES };  // library.py knows them

// Sizes of the structures that both sides know, in the order of abi.h.
const int32_t* ol_abi() {
  static const int32_t sizes[] = {sizeof(Linear), sizeof(Layer),   sizeof(Base),
                                  sizeof(Site),   sizeof(Segment), sizeof(Step)};
  return sizes;
}

int32_t ol_open(const Base* base, int32_t threads, void** opened) {
  return guarded<int32_t>(NO_RESOURCES, [&] {
    auto engine = std::make_unique<Engine>(*base, threads);
    if (!engine->is_whole()) return NO_CACHE;
    *opened = engine.release();
    return OPENED;
  });
}

int32_t ol_has_tiles(void* engine) { return static_cast<Engine*>(engine)->has_tiles(); }

void ol_close(void* engine) { delete static_cast<Engine*>(engine); }

int32_t ol_step(void* engine, const Step* step) {  // -1 where memory is short
  return guarded(-1, [&] { return static_cast<Engine*>(engine)->step(*step) ? 0 : -1; });
}

void ol_largest(const float* row, int32_t width, int32_t count, int32_t* places, float* found) {
  largest(row, width, count, places, found);
}

void* ol_reserve(uint64_t bytes) { return reserve(bytes); }

void ol_release(void* memory, uint64_t bytes) { munmap(memory, bytes); }

// For tests: y (rows, 16 · tiles) ← rows of x, `stride` apart and padded with zeros, through one linear map.
int32_t ol_product(const bf16* x, int32_t stride, int32_t rows, const Linear* map, int32_t threads, float* y) {
  return guarded(-1, [&] {
    Team team(threads);
    bool has_tiles = allow_tiles();
    Input in{x, stride, round_up(map->k, 2 * PAIRS)};
    team.run([&](int thread) {
      if (has_tiles) set_tiles();
      auto finish = [&](int row, int tile, int count, float (*sums)[LANES]) {
        memcpy(y + (size_t(row) * map->tiles + tile) * LANES, sums, count * sizeof(*sums));
      };
      product(team, thread, has_tiles, in, rows, *map, nullptr, finish);
      if (has_tiles) release_tiles();
    });
    return 0;
  });
}

// Multiplications and additions a second of `threads` by vdpbf16ps, with nothing to wait for; 0: there are no threads.
double ol_multiply_rate(int32_t threads) {
  constexpr int64_t ROUNDS = 4'000'000, OPERATIONS = 16 * 64;
  return guarded(0.0, [&] {
    double best = 1e9;
    std::vector<float> sums(threads * 16);
    for (int turn = 0; turn < 3; turn++) {
      auto start = std::chrono::steady_clock::now();
      run_on(threads, [&](int n) { sums[n * 16] = multiply_all(ROUNDS); });
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return double(threads) * ROUNDS * OPERATIONS / best;
  });
}

// Bytes a second that `threads` read together from memory of this size on huge pages: the floor of a decode step.
double ol_read_bandwidth(int32_t threads, uint64_t bytes) {
  return guarded(0.0, [&] {
    Buffer<char> memory;
    bytes = (bytes + (1 << 21) - 1) >> 21 << 21;
    if (!memory.fit(bytes + 8192)) return 0.0;
    memset(memory.data(), 1, bytes);
    uint64_t share = bytes / threads / 512 * 512;
    double best = 1e9;
    std::vector<int> sums(threads * 16);
    for (int turn = 0; turn < 5; turn++) {
      auto start = std::chrono::steady_clock::now();
      run_on(threads, [&](int n) { read_all(memory.data() + n * share, share, &sums[n * 16]); });
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return double(share) * threads / best;
  });
}

}  // extern "C"
