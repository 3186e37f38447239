// The shipped mappings (RECORDS.md section 2): each finds, in one parsed document, the elements
// that stand for canonical fields. Private to record_codec.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/record_fields.h"

namespace trimtab::daemon {

// Parses JSON that stands inside a string (OTel puts messages so); results live until the next
// record. A few parsers, made on first use.
class NestedJson {
 public:
  void reset() { used_ = 0; }
  // nullopt when the text is no JSON array or object (then it is plain text).
  [[nodiscard]] std::optional<Element> parse(std::string_view text, std::size_t max_depth);

 private:
  std::vector<std::unique_ptr<simdjson::dom::parser>> parsers_;
  std::size_t used_ = 0;
};

void map_canonical(simdjson::dom::object record, FoundFields& found);
void map_otel(simdjson::dom::object record, NestedJson& nested, std::size_t max_depth,
              FoundFields& found);
void map_litellm(simdjson::dom::object record, FoundFields& found);
void map_langfuse(simdjson::dom::object record, FoundFields& found);
// One's own pointers, on top of any of the above: they win where they find something.
void map_pointers(Element record, const std::vector<std::pair<Field, std::string>>& pointers,
                  FoundFields& found);

}  // namespace trimtab::daemon
