#include "drift/detector.h"

#include "base/check.h"

namespace trimtab::drift {

Verdict Detector::update_category(std::string_view) {
  CHECK(false, "this detector takes numbers, not categories");
}

}  // namespace trimtab::drift
