// Result<T>: how every fallible function in the house answers.
//
// An Error says what happened, where, and what to try next; the message is one line, ready for an
// operator. Exceptions of other libraries are caught in the .cpp that includes those libraries and
// turned into an Error there. A broken invariant is not an Error: it is CHECK (base/check.h).
// Thread-safety: plain values.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace trimtab {

// Few on purpose: a code selects an exit code or an HTTP status, the message tells the story.
enum class Code {
  kInvalid,      // the caller's input is wrong: HTTP 400/422, exit 2
  kNotFound,     // HTTP 404
  kConflict,     // illegal in the present state: HTTP 409
  kUnavailable,  // a peer is down or slow; trying again may help: HTTP 503
  kTimeout,      // a deadline passed: HTTP 504
  kCorrupt,      // data at rest does not verify (digest, truncated file, bad header)
  kIo,           // the operating system said no (disk full, permission)
  kExhausted,    // a bound of ours was reached: HTTP 429
  kInternal,     // a bug that could be contained
};

[[nodiscard]] std::string_view code_name(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// `return fail(Code::kIo, path + ": cannot open: " + why);`
[[nodiscard]] inline tl::unexpected<Error> fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

// Hands an error on with the place in front: "job.yaml: missing key 'base'".
[[nodiscard]] inline tl::unexpected<Error> fail_in(std::string_view where, const Error& error) {
  return tl::unexpected<Error>(Error{error.code, std::string(where) + ": " + error.message});
}

}  // namespace trimtab

// Early return for Result-returning functions.
#define TRIMTAB_CONCAT_INNER(a, b) a##b
#define TRIMTAB_CONCAT(a, b) TRIMTAB_CONCAT_INNER(a, b)
// TRIMTAB_TRY(auto text, read_file(path)); declares `text` or returns the error.
#define TRIMTAB_TRY(declaration, expression) \
  TRIMTAB_TRY_INNER(TRIMTAB_CONCAT(trimtab_try_, __LINE__), declaration, expression)
#define TRIMTAB_TRY_INNER(temporary, declaration, expression)               \
  auto temporary = (expression);                                            \
  if (!temporary) return tl::unexpected<trimtab::Error>(temporary.error()); \
  declaration = std::move(*temporary)
// TRIMTAB_CHECK_OK(save(...)); for Status.
#define TRIMTAB_CHECK_OK(expression)                                                    \
  do {                                                                                  \
    auto trimtab_status = (expression);                                                 \
    if (!trimtab_status) return tl::unexpected<trimtab::Error>(trimtab_status.error()); \
  } while (false)
