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
#include <immintrin.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using bf16 = uint16_t;
constexpr int LANES = 16;         // floats of a register, outputs of a tile, tokens of a block
constexpr int ROWS = 8;           // rows of the batch that one pass over a tile serves
constexpr int AMX_ROWS = 32;      // the same on AMX: two tiles of rows by two of outputs
constexpr int PAIRS = 16;         // pairs of a tile of AMX; inputs are padded to so many
constexpr int GROUP_ROWS = 64;    // rows of one adapter that one pass over its A serves, at most
constexpr int TILE_ROWS_MIN = 4;  // rows of one adapter that are worth a tile of 16
constexpr int SITES = 7;          // q k v o gate up down
constexpr int QUERIES = 6;        // queries that one pass over a block serves: 6 × 4 registers of values
constexpr int COLUMNS = 4;        // registers of channels that one pass over values serves
constexpr int FINISHED_ROWS = 2;  // rows of a product that are finished while a tile of the next is multiplied
constexpr int PART_ROWS = 256;    // rows that a thread works on at once
constexpr int CACHED_INPUTS = 576;  // inputs of a pair of tiles that the first-level cache has room for
constexpr size_t INPUT_BYTES = 1 << 20;  // of rows that the second-level cache has room for
constexpr int SHRINK_AHEAD = 1024;  // numbers of an adapter's A that are fetched ahead
constexpr int TILES = 2;          // tiles of a product that one pass serves; gate and up are such a pair
constexpr int SPINS = 4000;       // looks at a barrier before the core is offered to others: some 50 µs
constexpr int IDLE_SPINS = 20000; // looks for the next step before a thread goes to sleep

int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

// ---- what the caller hands over; the same structures stand in library.py ---------------------------------------

extern "C" {

struct Linear {       // y = W x + bias
  const bf16* w;      // product layout
  const float* bias;  // or null
  int32_t k;          // inputs
  int32_t tiles;      // of 16 outputs
};

struct Layer {
  const float *attention_norm, *mlp_norm, *q_norm, *k_norm;  // the last two or null
  Linear qkv, o, gate_up, down;  // q, k and v each padded to whole tiles; tiles of gate and up take turns
};

struct Base {
  int32_t vocab, d_model, d_mlp, layers, heads, kv_heads, head_dim, context, blocks;
  float norm_eps, rope_scale;
  const float* frequencies;  // (head_dim / 2), radians a position
  const bf16* embedding;     // (vocab, d_model), or null: the head's own tiles are read
  const float* final_norm;
  Linear head;
  const Layer* layer;
};

struct Site {          // one linear map of one layer that an adapter changes; rank 0: it does not
  const bf16 *a, *b;
  const float* scale;  // (outputs) of DoRA, or null
  int32_t rank, even;  // rank, and rank padded to an even number
};

struct Segment {         // tokens of one sequence, next to each other
  int32_t first, count;  // rows of the batch
  int32_t position;      // of the first token in its sequence
  int32_t wanted;        // number of its last row among the wanted ones, or -1
  const int32_t* blocks;
  const Site* sites;     // (layers × SITES), or null: the bare base
};

struct Step {
  int32_t rows, segments, wanted, kept, rank_max;
  const int32_t* ids;      // (rows)
  const Segment* segment;  // rows of one adapter stand together
  float* logits;           // (kept, vocab): of the first wanted rows; of the others only the likeliest token is told
  int32_t* token;          // (wanted) likeliest token, or -1 where a number overflowed
};

}  // extern "C"

namespace {

// ---- numbers ---------------------------------------------------------------------------------------------------

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

// ---- threads ---------------------------------------------------------------------------------------------------

// A team of threads that walks through the phases of a step together. Who waits looks for a moment, then yields the
// core at each look: on a busy machine a thread that only looked would keep the one it waits for from running.
class Team {
 public:
  explicit Team(int size) : size_(size), taken_(size) {
    try {
      for (int n = 1; n < size; n++) threads_.emplace_back([this, n] { serve(n); });
    } catch (...) {  // the system gives no more of them
      end();
      throw;
    }
  }

  ~Team() { end(); }

  int size() const { return size_; }

  template <class Work>
  void run(Work&& work) {  // work(number of the thread), on all of them
    task_ = [](void* context, int n) { (*static_cast<Work*>(context))(n); };
    context_ = &work;
    if (size_ > 1) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        turn_.fetch_add(1, std::memory_order_release);
      }
      if (sleepers_.load()) wake_.notify_all();
    }
    work(0);
    barrier();
  }

  void barrier() {
    unsigned phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      for (auto& taken : taken_) taken.count.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; spins++)
      if (spins < SPINS) _mm_pause(); else sched_yield();
  }

  // A unit of this phase that nobody has taken yet, or -1: a thread's own part in order, then what others have left.
  int take(int thread, int units) {
    for (int n = 0; n < size_; n++) {
      int owner = thread + n < size_ ? thread + n : thread + n - size_;
      int first = int(int64_t(units) * owner / size_), last = int(int64_t(units) * (owner + 1) / size_);
      if (taken_[owner].count.load(std::memory_order_relaxed) >= last - first) continue;
      int unit = first + taken_[owner].count.fetch_add(1, std::memory_order_relaxed);
      if (unit < last) return unit;
    }
    return -1;
  }

 private:
  void end() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_over_ = true;
      turn_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void serve(int n) {
    for (unsigned seen = 0;;) {
      await(seen);
      seen++;
      if (is_over_) return;
      task_(context_, n);
      barrier();
    }
  }

  void await(unsigned seen) {
    for (int spins = 0; spins < IDLE_SPINS; spins++) {
      if (turn_.load(std::memory_order_acquire) != seen) return;
      if (spins < SPINS) _mm_pause(); else sched_yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_++;
    wake_.wait(lock, [&] { return turn_.load(std::memory_order_acquire) != seen; });
    sleepers_--;
  }

  const int size_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  void (*task_)(void*, int) = nullptr;
  void* context_ = nullptr;
  bool is_over_ = false;
  std::atomic<unsigned> turn_{0};  // both count on past their largest number
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> phase_{0};
  struct alignas(64) Taken { std::atomic<int> count{0}; };
  std::vector<Taken> taken_;
};

// ---- memory ----------------------------------------------------------------------------------------------------

void* reserve(size_t bytes) {  // zeros, on huge pages where the system has them, taken as they are first written
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

template <class T>
class Buffer {  // grows, never shrinks, is zero where nothing was written; its rows start on cache lines
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  ~Buffer() { if (data_) munmap(data_, bytes_); }

  bool fit(size_t count) {
    if (count * sizeof(T) <= bytes_) return true;
    if (data_) munmap(data_, bytes_);
    bytes_ = (count * sizeof(T) + (1 << 21) - 1) >> 21 << 21;
    data_ = static_cast<T*>(reserve(bytes_));
    if (!data_) bytes_ = 0;
    return data_ != nullptr;
  }

  T* data() { return data_; }

 private:
  T* data_ = nullptr;
  size_t bytes_ = 0;
};

// ---- products --------------------------------------------------------------------------------------------------

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

#ifdef __AMX_BF16__

bool allow_tiles() {  // Linux grants the tiles' registers to a process that asks
  constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}

void set_tiles() {  // all eight: 16 rows of 64 bytes
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
  } set;
  for (int n = 0; n < 8; n++) set.bytes[n] = 64, set.rows[n] = 16;
  _tile_loadconfig(&set);
}

void release_tiles() { _tile_release(); }

void clear_tiles() {
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
void expand_tile(float (&y)[16][LANES], const bf16* b, int pairs, const bf16* s, int s_step) {
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

bool allow_tiles() { return false; }
void set_tiles() {}
void release_tiles() {}

template <int C, class Meanwhile>
void multiply_tiles_amx(Sums&, const Input&, int, const Linear&, int, Span, Ahead, Meanwhile) {}

void expand_tile(float (&)[16][LANES], const bf16*, int, const bf16*, int) {}

template <int H>
void shrink_tiles(float (&)[GROUP_ROWS][LANES], const bf16*, int, const Input&) {}

#endif

// ---- adapters --------------------------------------------------------------------------------------------------

inline float sum_of(__m512 x) { return _mm512_reduce_add_ps(x); }

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

inline __m512 scale_of(const Site& at, int tile) {
  return at.scale ? _mm512_loadu_ps(at.scale + tile * LANES) : _mm512_set1_ps(1.0f);
}

// One tile of R rows of one adapter: y ← scale · y + B s; rows of y stand `y_step` apart.
template <class Sum, int R>
void expand_rows(float* y, int y_step, const Site& at, int tile, const bf16* const* s) {
  __m512 sum[R], scale = scale_of(at, tile);
  multiply_thin<Sum, R>(sum, s, at.b + size_t(tile) * at.even * LANES, at.even / 2, 2 * LANES, TILES * at.even * LANES);
  for (int r = 0; r < R; r++) {
    float* place = y + size_t(r) * y_step;
    _mm512_storeu_ps(place, _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(place), scale), sum[r]));
  }
}

template <class Sum>
void expand_thin(float* y, int y_step, int rows, const Site& at, int tile, const bf16* s, int s_step) {
  const bf16* in[8];
  for (int r = 0; r < rows;) {
    int left = rows - r, count = left >= 8 ? 8 : left >= 2 ? 2 : 1;
    for (int n = 0; n < count; n++) in[n] = s + size_t(r + n) * s_step;
    float* place = y + size_t(r) * y_step;
    if (count == 8) expand_rows<Sum, 8>(place, y_step, at, tile, in);
    else if (count == 2) expand_rows<Sum, 2>(place, y_step, at, tile, in);
    else expand_rows<Sum, 1>(place, y_step, at, tile, in);
    r += count;
  }
}

// The same for many rows, 16 of them at a time.
void expand_in_tiles(float* y, int y_step, int rows, const Site& at, int tile, const bf16* s, int s_step) {
  alignas(64) float more[16][LANES];
  __m512 scale = scale_of(at, tile);
  for (int r = 0; r < rows; r += 16) {
    expand_tile(more, at.b + size_t(tile) * at.even * LANES, at.even / 2, s + size_t(r) * s_step, s_step);
    for (int n = r; n < std::min(rows, r + 16); n++) {
      float* place = y + size_t(n) * y_step;
      __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(place), scale);
      _mm512_storeu_ps(place, _mm512_add_ps(sum, _mm512_load_ps(more[n - r])));
    }
  }
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
  multiply_thin<Sum, R>(sum, x, a, in.width / 2, 2 * out.ranks, SHRINK_AHEAD);
  for (int r = 0; r < R; r++) out.store(row + r, sum[r]);
}

template <class Sum>
void shrink_thin(const Shrunk& out, int rows, const bf16* a, const Input& in) {
  int r = 0;
  for (; r + 4 <= rows; r += 4) shrink_rows<Sum, 4>(out, r, a, in);
  for (; r < rows; r++) shrink_rows<Sum, 1>(out, r, a, in);
}

// The same for many rows.
void shrink_in_tiles(const Shrunk& out, int rows, const bf16* a, const Input& in) {
  alignas(64) float sum[GROUP_ROWS][LANES];
  if (rows > 48) shrink_tiles<4>(sum, a, out.ranks, in);
  else if (rows > 32) shrink_tiles<3>(sum, a, out.ranks, in);
  else if (rows > 16) shrink_tiles<2>(sum, a, out.ranks, in);
  else shrink_tiles<1>(sum, a, out.ranks, in);
  for (int r = 0; r < rows; r++) out.store(r, _mm512_load_ps(sum[r]));
}

// ---- the engine ------------------------------------------------------------------------------------------------

enum { Q, K, V, O, GATE, UP, DOWN };

struct Unit { int first, count; const Site* sites; };  // rows of one adapter, shared out to threads
struct Task { int segment, head, first, count; };      // queries of one key head: heads × tokens, at most QUERIES

class Engine {
 public:
  Engine(const Base& base, int threads)
      : base_(base), layers_(base.layer, base.layer + base.layers), team_(threads), scratch_(threads) {
    share_ = base.heads / base.kv_heads;
    has_tiles_ = allow_tiles();
    width_ = row_width(base.d_model);
    mlp_width_ = row_width(base.d_mlp);
    q_width_ = round_up(base.heads * base.head_dim, LANES);
    kv_width_ = round_up(base.kv_heads * base.head_dim, LANES);
    mixed_width_ = row_width(base.heads * base.head_dim);
    head_width_ = round_up(base.head_dim, LANES);
    block_ = size_t(LANES) * (base.head_dim + head_width_);
    make_tables();
    cache_ = static_cast<bf16*>(reserve(cache_bytes()));  // last: nothing may throw while nobody frees it
  }

  ~Engine() {
    if (cache_) munmap(cache_, cache_bytes());
  }

  bool has_tiles() const { return has_tiles_; }

  bool is_whole() const { return cache_ != nullptr; }

  bool step(const Step& step) {  // false where memory is short
    if (!lay_out(step)) return false;
    team_.run([&](int thread) {
      unsigned rounding = _mm_getcsr();
      _mm_setcsr(rounding | 0x8040);  // numbers near 2⁻¹²⁶ become zero, as in every product of bfloat16
      if (has_tiles_) set_tiles();
      for (int row; (row = team_.take(thread, step.rows)) >= 0;) embed(step.ids[row], hidden(row));
      team_.barrier();
      for (int n = 0; n < base_.layers; n++) run_layer(step, n, thread);
      choose(step, thread);
      if (has_tiles_) release_tiles();
      _mm_setcsr(rounding);
    });
    for (int n = 0; n < step.wanted; n++) step.token[n] = likeliest(step, n);
    return true;
  }

 private:
  // ---- places

  size_t cache_bytes() const {
    return size_t(base_.layers) * base_.blocks * base_.kv_heads * block_ * sizeof(bf16);
  }
  bf16* block(int layer, int number, int head) {
    return cache_ + ((size_t(layer) * base_.blocks + number) * base_.kv_heads + head) * block_;
  }
  float* hidden(int row) { return hidden_.data() + size_t(row) * base_.d_model; }
  float* qkv(int row) { return qkv_.data() + size_t(row) * (q_width_ + 2 * kv_width_); }
  bf16* x(int row) { return x_.data() + size_t(row) * width_; }
  bf16* q(int row) { return q_.data() + size_t(row) * mixed_width_; }
  bf16* mixed(int row) { return mixed_.data() + size_t(row) * mixed_width_; }
  bf16* mlp(int row) { return mlp_.data() + size_t(row) * mlp_width_; }
  bf16* shrunk(int row, int n) { return shrunk_.data() + (size_t(row) * 3 + n) * rank_width_; }

  Input x_in() { return {x_.data(), width_, round_up(base_.d_model, 32)}; }
  Input mixed_in() { return {mixed_.data(), mixed_width_, round_up(base_.heads * base_.head_dim, 32)}; }
  Input mlp_in() { return {mlp_.data(), mlp_width_, round_up(base_.d_mlp, 32)}; }

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

  // Which row belongs to whom, what is worked on together, and room for all of it.
  bool lay_out(const Step& step) {
    units_.clear();
    tasks_.clear();
    segment_of_.resize(step.rows);
    sites_of_.resize(step.rows);
    wanted_row_.assign(step.wanted, 0);
    has_adapters_ = false;
    unit_rows_ = std::clamp(round_up(step.rows / (2 * team_.size()), 16), 16, has_tiles_ ? GROUP_ROWS : 16);
    int context = 0;
    for (int n = 0; n < step.segments; n++) {
      const Segment& part = step.segment[n];
      if (part.wanted >= 0) wanted_row_[part.wanted] = part.first + part.count - 1;
      has_adapters_ |= part.sites != nullptr;
      context = std::max(context, part.position + part.count);
      std::fill_n(segment_of_.begin() + part.first, part.count, n);
      std::fill_n(sites_of_.begin() + part.first, part.count, part.sites);
      add_units(part);
      add_tasks(part, n);
    }
    rank_width_ = round_up(std::max(1, step.rank_max), 2 * PAIRS);
    context_width_ = round_up(context, LANES);
    return fit(step.rows, step.wanted);
  }

  void add_units(const Segment& part) {
    for (int i = 0; i < part.count; i++)
      if (!units_.empty() && units_.back().sites == part.sites && units_.back().count < unit_rows_)
        units_.back().count++;
      else
        units_.push_back({part.first + i, 1, part.sites});
  }

  void add_tasks(const Segment& part, int number) {
    int tokens = std::max(1, QUERIES / share_);
    for (int head = 0; head < base_.kv_heads; head++)
      for (int i = 0; i < part.count; i += tokens)
        tasks_.push_back({number, head, i, std::min(tokens, part.count - i)});
  }

  // Padded to whole pairs of AMX, and to an odd number of cache lines: else rows would crowd into a part of the cache.
  static int row_width(int n) { return (round_up(n, 2 * PAIRS) / 32 | 1) * 32; }

  bool fit(size_t rows, size_t wanted) {
    rows += GROUP_ROWS, wanted += AMX_ROWS;  // that tiles read behind the last one
    size_t lanes = size_t(team_.size()) * wanted * LANES;
    bool fits = hidden_.fit(rows * base_.d_model) && x_.fit(rows * width_) && mlp_.fit(rows * mlp_width_) &&
                qkv_.fit(rows * (q_width_ + 2 * kv_width_)) && q_.fit(rows * mixed_width_) &&
                mixed_.fit(rows * mixed_width_) && shrunk_.fit(rows * 3 * rank_width_) &&
                last_.fit(wanted * width_) && best_.fit(lanes) && best_id_.fit(lanes) && bad_.fit(lanes);
    for (auto& scratch : scratch_) fits = fits && scratch.fit(size_t(QUERIES) * context_width_ * 3 / 2);
    return fits;
  }

  // ---- rows

  static __mmask16 mask(int left) { return left >= LANES ? 0xffff : left <= 0 ? 0 : (1u << left) - 1; }

  void embed(int id, float* out) {
    int d = base_.d_model;
    if (base_.embedding) {
      const bf16* in = base_.embedding + size_t(id) * d;
      for (int i = 0; i < d; i++) out[i] = widen(in[i]);
      return;
    }
    const bf16* tile = base_.head.w + size_t(id / LANES) * size_of_tile(base_.head) + id % LANES * 2;
    for (int i = 0; i < d; i++) out[i] = widen(tile[size_t(i / 2) * 2 * LANES + i % 2]);
  }

  // out ← in / rms(in) · weight, `n` wide.
  template <class Store>
  void norm(const float* in, const float* weight, int n, Store store) {
    __m512 squares = _mm512_setzero_ps();
    for (int i = 0; i < n; i += LANES) {
      __m512 h = _mm512_maskz_loadu_ps(mask(n - i), in + i);
      squares = _mm512_fmadd_ps(h, h, squares);
    }
    __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(sum_of(squares) / float(n) + base_.norm_eps));
    for (int i = 0; i < n; i += LANES) {
      __m512 h = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask(n - i), in + i), scale);
      store(i, _mm512_mul_ps(h, _mm512_maskz_loadu_ps(mask(n - i), weight + i)));
    }
  }

  void norm_row(const float* in, const float* weight, bf16* out) {
    int d = base_.d_model;
    norm(in, weight, d, [&](int i, __m512 y) { _mm256_mask_storeu_epi16(out + i, mask(d - i), narrow(y)); });
  }

  // What each of `count` maps' A makes of the rows of one adapter.
  void shrink(const Unit& unit, int layer, int first, int count, const Input& in) {
    for (int n = 0; unit.sites && n < count; n++) {
      const Site& at = unit.sites[layer * SITES + first + n];
      Input rows{in.row(unit.first), in.stride, in.width};
      for (int rank = 0; rank < at.rank; rank += LANES) {
        const bf16* a = at.a + size_t(rank) * in.width;
        Shrunk out{shrunk(unit.first, n), 3 * rank_width_, rank, std::min(LANES, at.rank - rank)};
        if (!has_tiles_) shrink_thin<InPairs>(out, unit.count, a, rows);
        else if (unit.count < TILE_ROWS_MIN) shrink_thin<InTiles>(out, unit.count, a, rows);
        else shrink_in_tiles(out, unit.count, a, rows);
      }
    }
  }

  void shrink_all(int thread, int layer, int site, const Input& in) {
    if (!has_adapters_) return;
    for (int u; (u = team_.take(thread, units_.size())) >= 0;) shrink(units_[u], layer, site, 1, in);
    team_.barrier();
  }

  // `rows` rows through a linear map and what their adapters change of it: site(tile) says which of the
  // seven maps a tile belongs to; finish(row, tile, count, y) gets each row's one or two tiles.
  template <class SiteOf, class Finish>
  void product(int thread, const Input& in, int rows, const Linear& map, SiteOf site, Finish finish) {
    int height = has_tiles_ ? AMX_ROWS : ROWS;  // rows of a block
    int passes = (map.tiles + TILES - 1) / TILES, blocks = (rows + height - 1) / height;
    int parts = (rows + PART_ROWS - 1) / PART_ROWS;  // many rows are shared out as well
    bool is_long = size_t(rows) * in.stride * sizeof(bf16) > INPUT_BYTES;
    Sums y[PART_ROWS / AMX_ROWS];
    Block last;
    auto finish_rows = [&](int count) {  // of the block before this one
      for (; count > 0 && last.done < last.rows; count--, last.done++)
        finish(last.first + last.done, last.tile, last.count, y[last.place][last.done]);
    };
    for (int unit; (unit = team_.take(thread, passes * parts)) >= 0;) {
      int part = is_long ? unit / passes : unit % parts, tile = (is_long ? unit % passes : unit / parts) * TILES;
      int from = blocks * part / parts, to = blocks * (part + 1) / parts, count = std::min(TILES, map.tiles - tile);
      Fetch fetch{map, tile + TILES, is_long || part == parts - 1 ? to - from : 0};
      int width = round_up(map.k, 2 * PAIRS), cut = cut_of(width, to - from);
      if (cut < width && last.place == 0) finish_rows(height);
      for (int k = 0; k < width; k += cut)
        for (int n = from; n < to; n++) {
          int place = cut < width ? n - from : last.place == 0, first = n * height;
          Block now{place, first, std::min(height, rows - first), tile, count};
          Span span{k, std::min(width, k + cut)};
          Ahead ahead = fetch.ahead(n - from, k);
          multiply_block(y[place], now, in, map, span, ahead, [&] { finish_rows(FINISHED_ROWS); });
          finish_rows(height);
          if (span.last < width) continue;
          if constexpr (!std::is_null_pointer_v<SiteOf>)
            for (int c = 0; has_adapters_ && c < count; c++) adapt(y[place], c, first, now.rows, site(tile + c));
          last = now;
        }
    }
    finish_rows(height);
  }

  // Inputs of a pair of tiles are cut so that its weights stay in the first-level cache while the part's rows go by.
  int cut_of(int width, int blocks) const { return has_tiles_ && blocks > 1 ? CACHED_INPUTS : width; }

  struct Block {  // rows of a product and the one or two tiles of it that they go through at once
    int place = 0, first = 0, rows = 0, tile = 0, count = 0, done = 0;
  };

  template <class Meanwhile>
  void multiply_block(Sums& y, const Block& at, const Input& in, const Linear& map, Span k, Ahead ahead,
                      Meanwhile meanwhile) {
    Input x{in.row(at.first), in.stride, in.width};
    bool is_pair = at.count == TILES;
    if (has_tiles_ && is_pair) multiply_tiles_amx<TILES>(y, x, at.rows, map, at.tile, k, ahead, meanwhile);
    else if (has_tiles_) multiply_tiles_amx<1>(y, x, at.rows, map, at.tile, k, ahead, meanwhile);
    else if (is_pair) multiply_tiles<TILES>(y, x.rows, x.stride, at.rows, map, at.tile, ahead);
    else multiply_tiles<1>(y, x.rows, x.stride, at.rows, map, at.tile, ahead);
  }

  struct Place { int site, number, tile; };  // of the layers' sites; among those of one input; tile of its output

  // What the adapters of rows [first, …) add to one tile each.
  void adapt(Sums& y, int c, int first, int height, Place at) {
    for (int r = 0, count; r < height; r += count) {
      const Site* sites = sites_of_[first + r];
      for (count = 1; r + count < height && sites_of_[first + r + count] == sites;) count++;
      if (!sites || !sites[at.site].rank) continue;
      auto expand = !has_tiles_ ? expand_thin<InPairs> : count < TILE_ROWS_MIN ? expand_thin<InTiles> : expand_in_tiles;
      expand(y[r][c], TILES * LANES, count, sites[at.site], at.tile, shrunk(first + r, at.number), 3 * rank_width_);
    }
  }

  static __m512 biased(__m512 y, const float* bias, int tile) {
    return bias ? _mm512_add_ps(y, _mm512_loadu_ps(bias + tile * LANES)) : y;
  }

  // ---- one layer

  void run_layer(const Step& step, int n, int thread) {
    const Layer& layer = layers_[n];
    begin(step, n, thread, layer.attention_norm, Q, 3);
    project(n, thread, layer.qkv, step.rows);
    team_.barrier();
    for (int row; (row = team_.take(thread, step.rows)) >= 0;) place(step, layer, n, row);
    team_.barrier();
    for (int t; (t = team_.take(thread, tasks_.size())) >= 0;) attend(step, n, tasks_[t], scratch_[thread].data());
    team_.barrier();
    shrink_all(thread, n, O, mixed_in());
    add_to_hidden(n, thread, layer.o, O, mixed_in(), step.rows);
    team_.barrier();
    begin(step, n, thread, layer.mlp_norm, GATE, 2);
    gate(n, thread, layer.gate_up, step.rows);
    team_.barrier();
    shrink_all(thread, n, DOWN, mlp_in());
    add_to_hidden(n, thread, layer.down, DOWN, mlp_in(), step.rows);
    team_.barrier();
  }

  // The first half of attention and MLP: norm, and what the adapters' A make of it.
  void begin(const Step& step, int n, int thread, const float* weight, int site, int count) {
    for (int u; (u = team_.take(thread, units_.size())) >= 0;) {
      const Unit& unit = units_[u];
      for (int r = unit.first; r < unit.first + unit.count; r++) {
        norm_row(hidden(r), weight, x(r));
        if (site == Q) clear_block(step, n, r);
      }
      shrink(unit, n, site, count, x_in());
    }
    team_.barrier();
  }

  // NOTE: a recycled block holds what another sequence left, perhaps no numbers at all: 0 · NaN is NaN.
  void clear_block(const Step& step, int layer, int row) {
    const Segment& part = step.segment[segment_of_[row]];
    int position = part.position + row - part.first;
    if (position % LANES == 0)
      memset(block(layer, part.blocks[position / LANES], 0), 0, base_.kv_heads * block_ * sizeof(bf16));
  }

  void project(int n, int thread, const Linear& map, int rows) {
    int q_tiles = q_width_ / LANES, kv_tiles = kv_width_ / LANES;
    auto site = [=](int tile) -> Place {
      if (tile < q_tiles) return {n * SITES + Q, 0, tile};
      tile -= q_tiles;
      return tile < kv_tiles ? Place{n * SITES + K, 1, tile} : Place{n * SITES + V, 2, tile - kv_tiles};
    };
    product(thread, x_in(), rows, map, site, [&](int row, int tile, int count, float (*y)[LANES]) {
      for (int c = 0; c < count; c++)
        _mm512_storeu_ps(qkv(row) + (tile + c) * LANES, biased(_mm512_loadu_ps(y[c]), map.bias, tile + c));
    });
  }

  void add_to_hidden(int n, int thread, const Linear& map, int site_number, const Input& in, int rows) {
    auto site = [=](int tile) -> Place { return {n * SITES + site_number, 0, tile}; };
    product(thread, in, rows, map, site, [&](int row, int tile, int count, float (*y)[LANES]) {
      for (int c = 0; c < count; c++) {
        float* at = hidden(row) + (tile + c) * LANES;
        __mmask16 there = mask(base_.d_model - (tile + c) * LANES);
        __m512 sum = biased(_mm512_loadu_ps(y[c]), map.bias, tile + c);
        _mm512_mask_storeu_ps(at, there, _mm512_add_ps(sum, _mm512_maskz_loadu_ps(there, at)));
      }
    });
  }

  void gate(int n, int thread, const Linear& map, int rows) {
    auto site = [=](int tile) -> Place { return {n * SITES + (tile % 2 ? UP : GATE), tile % 2, tile / 2}; };
    product(thread, x_in(), rows, map, site, [&](int row, int tile, int, float (*y)[LANES]) {
      __m512 gate = biased(_mm512_loadu_ps(y[0]), map.bias, tile);
      __m512 up = biased(_mm512_loadu_ps(y[1]), map.bias, tile + 1);
      __mmask16 there = mask(base_.d_mlp - tile / 2 * LANES);
      _mm256_mask_storeu_epi16(mlp(row) + tile / 2 * LANES, there, narrow(_mm512_mul_ps(silu(gate), up)));
    });
  }

  // ---- attention

  // Rotate one row's queries and keys, and put its keys and values into their block.
  void place(const Step& step, const Layer& layer, int n, int row) {
    const Segment& part = step.segment[segment_of_[row]];
    int position = part.position + row - part.first, lane = position % LANES, d = base_.head_dim;
    float* all = qkv(row);
    for (int head = 0; head < base_.heads; head++) rotate(all + head * d, layer.q_norm, position, q(row) + head * d);
    for (int head = 0; head < base_.kv_heads; head++) {
      bf16 key[1024];
      rotate(all + q_width_ + head * d, layer.k_norm, position, key);
      bf16* keys = block(n, part.blocks[position / LANES], head);
      for (int i = 0; i < d; i += 2) memcpy(keys + size_t(i) * LANES + lane * 2, key + i, 4);
      const float* value = all + q_width_ + kv_width_ + head * d;
      bf16* values = keys + size_t(d) * LANES + size_t(lane / 2) * head_width_ * 2;
      __mmask32 half = lane % 2 ? 0xaaaaaaaa : 0x55555555;  // this token's half of each pair
      for (int i = 0; i < d; i += LANES) {
        __m512i bits = _mm512_cvtepu16_epi32(narrow(_mm512_maskz_loadu_ps(mask(d - i), value + i)));
        _mm512_mask_storeu_epi16(values + i * 2, half, _mm512_or_si512(bits, _mm512_slli_epi32(bits, 16)));
      }
    }
  }

  void rotate(float* head, const float* weight, int position, bf16* out) {
    int half = base_.head_dim / 2;
    if (weight)
      norm(head, weight, 2 * half, [&](int i, __m512 y) { _mm512_mask_storeu_ps(head + i, mask(2 * half - i), y); });
    const float *cos = &cos_[size_t(position) * half], *sin = &sin_[size_t(position) * half];
    for (int i = 0; i < half; i += LANES) {
      __mmask16 there = mask(half - i);
      __m512 a = _mm512_maskz_loadu_ps(there, head + i), b = _mm512_maskz_loadu_ps(there, head + half + i);
      __m512 c = _mm512_maskz_loadu_ps(there, cos + i), s = _mm512_maskz_loadu_ps(there, sin + i);
      _mm256_mask_storeu_epi16(out + i, there, narrow(_mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s))));
      _mm256_mask_storeu_epi16(out + half + i, there, narrow(_mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s))));
    }
  }

  void attend(const Step& step, int n, const Task& task, float* scratch) {
    const Segment& part = step.segment[task.segment];
    int count = task.count * share_;
    if (const Task* next = &task + 1; next < tasks_.data() + tasks_.size())  // most likely ours as well
      fetch(block(n, step.segment[next->segment].blocks[0], next->head), size_t(base_.head_dim) * LANES);
    for (int first = 0; first < count;) {
      int left = count - first;
      // NOTE: who is taken together changes no bit of anybody: each query has sums of its own.
      if (left >= 6) attend_queries<6>(part, n, task, first, scratch), first += 6;
      else if (left >= 4) attend_queries<4>(part, n, task, first, scratch), first += 4;
      else if (left >= 3) attend_queries<3>(part, n, task, first, scratch), first += 3;
      else attend_queries<1>(part, n, task, first, scratch), first += 1;
    }
  }

  // R queries [first, …) of a task, numbered token by token: scores, softmax, and the values' weighted sum.
  template <int R>
  void attend_queries(const Segment& part, int n, const Task& task, int first, float* scores) {
    int row[R], head[R], seen[R];
    const bf16 *query[R], *chance[R];
    bf16* chances = reinterpret_cast<bf16*>(scores + size_t(QUERIES) * context_width_);
    for (int r = 0; r < R; r++) {
      int token = task.first + (first + r) / share_;
      head[r] = task.head * share_ + (first + r) % share_;
      row[r] = part.first + token;
      seen[r] = part.position + token + 1;
      query[r] = q(row[r]) + head[r] * base_.head_dim;
      chance[r] = chances + size_t(r) * context_width_;
    }
    int blocks = (seen[R - 1] + LANES - 1) / LANES;
    __m512 most[R], share[R];
    score<R>(part, n, task.head, query, seen, blocks, scores, most);
    for (int r = 0; r < R; r++)
      share[r] = soften(scores + size_t(r) * context_width_, const_cast<bf16*>(chance[r]), seen[r], blocks, most[r]);
    for (int column = 0; column < head_width_ / LANES;) {
      bool is_wide = head_width_ / LANES - column >= COLUMNS;
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
      keys[c] = block(n, part.blocks[first + c], kv_head);
      // Its values are wanted next. NOTE: processors with AMX fetch them sooner by themselves.
      if (!has_tiles_) fetch(keys[c] + size_t(base_.head_dim) * LANES, size_t(head_width_) * LANES);
    }
    clear(sum);
    multiply<R, C>(sum, query, keys, base_.head_dim / 2, 2 * LANES, {nullptr, 0});
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        int at = (first + c) * LANES;
        __m512 s = _mm512_mask_mul_ps(_mm512_set1_ps(-INFINITY), mask(seen[r] - at), sum[r][c], scale);
        _mm512_storeu_ps(scores + size_t(r) * context_width_ + at, s);
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
      const bf16 *all = block(n, part.blocks[b], kv_head) + size_t(base_.head_dim) * LANES, *values[C], *now[R];
      for (int c = 0; c < C; c++) values[c] = all + (column + c) * 2 * LANES;
      for (int r = 0; r < R; r++) now[r] = chance[r] + b * LANES;
      multiply<R, C>(sum, now, values, LANES / 2, 2 * head_width_, {nullptr, 0});
    }
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        int at = (column + c) * LANES;
        _mm256_mask_storeu_epi16(mixed(row[r]) + head[r] * base_.head_dim + at, mask(base_.head_dim - at),
                                 narrow(_mm512_mul_ps(sum[r][c], share[r])));
      }
  }

  // ---- the head

  void choose(const Step& step, int thread) {
    if (step.wanted == 0) return;
    for (int n; (n = team_.take(thread, step.wanted)) >= 0;)
      norm_row(hidden(wanted_row_[n]), base_.final_norm, last_.data() + size_t(n) * width_);
    size_t first = size_t(thread) * step.wanted * LANES;
    float* best = best_.data() + first;
    int32_t *best_id = best_id_.data() + first, *bad = bad_.data() + first;
    std::fill_n(best, size_t(step.wanted) * LANES, -INFINITY);
    std::fill_n(bad, step.wanted, 0);
    team_.barrier();
    __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    Input wanted{last_.data(), width_, x_in().width};
    product(thread, wanted, step.wanted, base_.head, nullptr, [&](int n, int tile, int count, float (*y)[LANES]) {
      for (int c = 0; c < count; c++) {
        int id = (tile + c) * LANES;
        __mmask16 there = mask(base_.vocab - id);
        __m512 logits = _mm512_loadu_ps(y[c]), now = _mm512_loadu_ps(best + n * LANES);
        if (n < step.kept) _mm512_mask_storeu_ps(step.logits + size_t(n) * base_.vocab + id, there, logits);
        bad[n] |= _mm512_mask_fpclass_ps_mask(there, logits, 0x99);  // a NaN or an infinity
        __mmask16 reached = _mm512_mask_cmp_ps_mask(there, logits, now, _CMP_GE_OQ);
        if (!reached) continue;
        // Who takes over what others have left may come to a lower id later, so of equal logits the lower id stays.
        __m512i ids = _mm512_add_epi32(lane, _mm512_set1_epi32(id)), best_ids = _mm512_loadu_si512(best_id + n * LANES);
        __mmask16 equal = _mm512_mask_cmp_ps_mask(reached, logits, now, _CMP_EQ_OQ);
        __mmask16 better = reached & ~_mm512_mask_cmpgt_epi32_mask(equal, ids, best_ids);
        _mm512_mask_storeu_ps(best + n * LANES, better, logits);
        _mm512_mask_storeu_epi32(best_id + n * LANES, better, ids);
      }
    });
  }

  int32_t likeliest(const Step& step, int n) {
    float best = -INFINITY;
    int32_t id = -1;
    for (int thread = 0; thread < team_.size(); thread++) {
      size_t first = size_t(thread) * step.wanted * LANES;
      if (bad_.data()[first + n]) return -1;
      for (size_t i = first + size_t(n) * LANES; i < first + size_t(n + 1) * LANES; i++)
        if (best_.data()[i] > best || (best_.data()[i] == best && best_id_.data()[i] < id))
          best = best_.data()[i], id = best_id_.data()[i];
    }
    return id;
  }

  Base base_;
  std::vector<Layer> layers_;
  Team team_;
  bool has_tiles_;
  int share_, width_, mlp_width_, q_width_, kv_width_, mixed_width_, head_width_;
  size_t block_;
  bf16* cache_;  // (layers, blocks, kv heads, keys then values of 16 tokens)
  std::vector<float> cos_, sin_;

  std::vector<Unit> units_;
  std::vector<Task> tasks_;
  std::vector<int> segment_of_, wanted_row_;
  std::vector<const Site*> sites_of_;
  bool has_adapters_ = false;
  int unit_rows_ = 16, rank_width_ = 0, context_width_ = 0;
  Buffer<float> hidden_, qkv_, best_;
  Buffer<bf16> x_, q_, mixed_, mlp_, shrunk_, last_;
  Buffer<int32_t> best_id_, bad_;
  std::vector<Buffer<float>> scratch_;  // of each thread: scores, then chances
};

// ---- what memory gives -----------------------------------------------------------------------------------------

void read_all(const char* memory, size_t bytes, int* out) {
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
float multiply_all(int64_t rounds) {
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

void* ol_reserve(uint64_t bytes) { return reserve(bytes); }

void ol_release(void* memory, uint64_t bytes) { munmap(memory, bytes); }

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
