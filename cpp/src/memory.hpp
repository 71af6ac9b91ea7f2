// The little memory management the core needs: no exceptions, no libstdc++, failure is a null pointer.
#pragma once
#include <stdint.h>
#include <stdlib.h>

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
