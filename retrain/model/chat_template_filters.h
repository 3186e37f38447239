// Filters in three files, one table: chat_template_filters.cpp owns it, the others add their rows.
#pragma once

#include <map>
#include <string>

#include "retrain/model/chat_template_interpreter.h"

namespace trimtab::model::jinja {

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);
using FilterTable = std::map<std::string, Filter, std::less<>>;

void add_list_filters(FilterTable& table);  // sort, groupby, batch, map, select ..
void add_text_filters(FilterTable& table);  // format, truncate, wordcount, urlencode ..

// A filter's whole-number or yes/no argument.
[[nodiscard]] std::int64_t int_argument(const Arguments& a, std::size_t i, const char* name,
                                        std::int64_t fallback);
[[nodiscard]] bool flag_argument(const Arguments& a, std::size_t i, const char* name,
                                 bool fallback);
[[nodiscard]] std::string escape_html(std::string_view text);

// Python's `pattern % operand` and `pattern.format(..)` (chat_template_format.cpp).
[[nodiscard]] std::string percent_format(const std::string& pattern, const Value& operand);
[[nodiscard]] std::string brace_format(Interpreter& run, const std::string& pattern,
                                       const Arguments& arguments);
// Python's str.center; width counts code points.
[[nodiscard]] std::string centered(const std::string& text, std::int64_t width,
                                   const std::string& fill);

}  // namespace trimtab::model::jinja
