// Threads that walk through the phases of a step together, and share out each phase's work.
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace {

constexpr int SPINS = 4000;        // looks at a barrier before the core is offered to others: some 50 µs
constexpr int IDLE_SPINS = 20000;  // looks for the next step before a thread goes to sleep

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

}  // namespace
