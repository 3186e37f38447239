#include "base/json.h"

namespace trimtab {

Result<Json> parse_json(std::string_view text, int max_depth) {
  try {
    const auto guard = [&](int depth, Json::parse_event_t, Json&) {
      if (depth > max_depth) throw std::length_error("depth");
      return true;
    };
    return Json::parse(text.begin(), text.end(), guard);
  } catch (const std::length_error&) {
    return fail(Code::kInvalid, "JSON nested deeper than " + std::to_string(max_depth));
  } catch (const nlohmann::json::parse_error& error) {
    return fail(Code::kInvalid, "not valid JSON near byte " + std::to_string(error.byte));
  } catch (const std::exception&) {
    return fail(Code::kInvalid, "not valid JSON");
  }
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string dump_json(const OrderedJson& value, int indent) {
  return value.dump(indent, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace trimtab
