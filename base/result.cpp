#include "base/result.h"

namespace trimtab {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kInvalid: return "invalid";
    case Code::kNotFound: return "not_found";
    case Code::kConflict: return "conflict";
    case Code::kUnavailable: return "unavailable";
    case Code::kTimeout: return "timeout";
    case Code::kCorrupt: return "corrupt";
    case Code::kIo: return "io";
    case Code::kExhausted: return "exhausted";
    case Code::kInternal: return "internal";
  }
  return "unknown";
}

}  // namespace trimtab
