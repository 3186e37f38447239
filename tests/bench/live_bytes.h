// Counts the bytes that operator new holds, for the memory bench and its test. Include in one file
// of a program: it replaces the global operators.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace trimtab::bench {
inline std::atomic<std::int64_t> live_bytes{0};
inline void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  live_bytes += static_cast<std::int64_t>(malloc_usable_size(memory));
  return memory;
}
inline void released(void* memory) {
  if (memory == nullptr) return;
  live_bytes -= static_cast<std::int64_t>(malloc_usable_size(memory));
  std::free(memory);
}
}  // namespace trimtab::bench

void* operator new(std::size_t size) { return trimtab::bench::counted(std::malloc(size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto step = static_cast<std::size_t>(alignment);
  return trimtab::bench::counted(std::aligned_alloc(step, (size + step - 1) / step * step));
}
void operator delete(void* memory) noexcept { trimtab::bench::released(memory); }
void operator delete(void* memory, std::size_t) noexcept { trimtab::bench::released(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { trimtab::bench::released(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  trimtab::bench::released(memory);
}
