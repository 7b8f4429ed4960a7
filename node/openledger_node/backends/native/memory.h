// Memory on huge pages.
#pragma once

#include <sys/mman.h>

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(place, bytes) ((void)(place), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(place, bytes) ((void)(place), (void)(bytes))
#endif

namespace {

inline void* reserve(size_t bytes) {  // zeros, on huge pages where the system has them, taken as they are first written
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
  ~Buffer() { release(); }

  bool fit(size_t count) {
    if (count * sizeof(T) > bytes_) {
      release();
      bytes_ = (count * sizeof(T) + (1 << 21) - 1) >> 21 << 21;
      data_ = static_cast<T*>(reserve(bytes_));
      if (!data_) bytes_ = 0;
    }
    fence(count);
    return data_ != nullptr;
  }

  T* data() { return data_; }

 private:
  void release() {
    if (!data_) return;
    ASAN_UNPOISON_MEMORY_REGION(data_, bytes_);
    munmap(data_, bytes_);
  }

  // In a build with sanitizers, what was not asked for may not be touched, though the system gave whole pages.
  void fence(size_t count) {
    if (!data_) return;
    ASAN_UNPOISON_MEMORY_REGION(data_, bytes_);
    ASAN_POISON_MEMORY_REGION(data_ + count, bytes_ - count * sizeof(T));
  }

  T* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace
