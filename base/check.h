// CHECK: a broken invariant is a bug. It prints one line and aborts; the service manager restarts
// the process from its last committed state. Never for bad input: that is an Error.
#pragma once

namespace trimtab {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const char* message);

}  // namespace trimtab

#define CHECK(condition, message)                                       \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::trimtab::check_failed(__FILE__, __LINE__, #condition, message); \
  } while (false)
