// The little memory management the core needs: no exceptions, no libstdc++, failure is a null pointer.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace gradiometer {

constexpr int64_t kAlign = 64;
constexpr int64_t align_up(int64_t n, int64_t to = kAlign) { return (n + to - 1) / to * to; }

// Aligned to a cache line, whatever was there; null where bytes is negative or too much.
inline void* allocate_raw(int64_t bytes) {
  if (bytes < 0) return nullptr;
  void* p = nullptr;
  if (posix_memalign(&p, kAlign, static_cast<size_t>(align_up(bytes > 0 ? bytes : 1)))) return nullptr;
  return p;
}

// The same, zero-filled.
inline void* allocate(int64_t bytes) {
  void* p = allocate_raw(bytes);
  if (p) __builtin_memset(p, 0, static_cast<size_t>(bytes));
  return p;
}

// As allocate_raw, in huge pages where it is much and the system has them: for what is read from L3 again and
// again (workspaces and packed weights of recurrent.hpp).
inline void* allocate_huge(int64_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr int64_t kHugePage = int64_t{2} << 20;
  if (bytes >= 2 * kHugePage && bytes <= INT64_MAX - kHugePage) {
    void* p = nullptr;
    if (posix_memalign(&p, kHugePage, static_cast<size_t>(align_up(bytes)))) return nullptr;
    madvise(p, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // may be refused
    return p;
  }
#endif
  return allocate_raw(bytes);
}

// Memory for one call that the next one finds again, up to 64 MiB in each slot: 2 MiB of fresh pages cost 0.4
// ms where 1024 x 1024 x 1024 takes 8. `data` is null where bytes is 0 or there is no memory.
class Scratch {
 public:
  Scratch(int slot, int64_t bytes) : slot_(kept() + slot % kSlots) {
    if (bytes <= 0) return;
    head_ = __atomic_exchange_n(slot_, nullptr, __ATOMIC_ACQUIRE);
    if (head_ && head_->bytes >= bytes) return;
    free(head_);
    const int64_t size = bytes <= INT64_MAX - kAlign ? bytes + kAlign : -1;
    head_ = static_cast<Head*>(allocate_raw(size));
    if (head_) head_->bytes = bytes;
  }
  ~Scratch() {
    if (head_ && head_->bytes <= kMost) head_ = __atomic_exchange_n(slot_, head_, __ATOMIC_RELEASE);
    free(head_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return head_ ? reinterpret_cast<char*>(head_) + kAlign : nullptr; }

 private:
  struct Head {
    int64_t bytes;
  };
  static constexpr int kSlots = 64;
  static constexpr int64_t kMost = int64_t{64} << 20;
  static Head** kept() {
    static Head* slots[kSlots];
    return slots;
  }
  Head** slot_;
  Head* head_ = nullptr;
};

// a * b in *out, false on overflow.
inline bool multiply(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

// A growable array of plain values.
template <class E>
struct Array {
  E* data = nullptr;
  int size = 0, capacity = 0;
  Array() = default;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { free(data); }
  E& operator[](int i) { return data[i]; }
  const E& operator[](int i) const { return data[i]; }
  E* begin() { return data; }
  E* end() { return data + size; }
  const E* begin() const { return data; }
  const E* end() const { return data + size; }
  bool reserve(int n) {
    if (n <= capacity) return true;
    int wanted = n > 2 * capacity ? n : 2 * capacity;
    E* p = static_cast<E*>(realloc(data, static_cast<size_t>(wanted) * sizeof(E)));
    if (!p) return false;
    data = p;
    capacity = wanted;
    return true;
  }
  bool push(const E& e) {
    if (!reserve(size + 1)) return false;
    data[size++] = e;
    return true;
  }
  bool assign(const Array& other) {
    if (!reserve(other.size)) return false;
    if (other.size) __builtin_memcpy(data, other.data, static_cast<size_t>(other.size) * sizeof(E));
    size = other.size;
    return true;
  }
};

}  // namespace gradiometer
