#include "daemon/api_request.h"

#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "config/spelling.h"

namespace trimtab::daemon {
namespace {

constexpr std::size_t kTextMost = 4'096;  // bytes of any one text in a command

tl::unexpected<net::Response> refuse(int status, const std::string& detail) {
  return tl::unexpected<net::Response>(net::problem(status, detail));
}

std::string_view type_name(FieldType type) {
  switch (type) {
    case FieldType::kText: return "a text";
    case FieldType::kFlag: return "true or false";
    case FieldType::kInteger: return "a whole number >= 0";
    case FieldType::kObject: return "an object";
    case FieldType::kOffset: return "a text or a whole number >= 0";
  }
  return "";
}

bool fits(const Json& value, FieldType type) {
  const bool text = value.is_string() && value.get_ref<const std::string&>().size() <= kTextMost;
  switch (type) {
    case FieldType::kText: return text;
    case FieldType::kFlag: return value.is_boolean();
    case FieldType::kInteger: return value.is_number_unsigned();
    case FieldType::kObject: return value.is_object();
    case FieldType::kOffset: return text || value.is_number_unsigned();
  }
  return false;
}

std::string unknown_key(const std::string& key, const std::vector<BodyField>& known) {
  std::vector<std::string> names;
  for (const auto& field : known) names.emplace_back(field.name);
  const std::string nearest = config::nearest_word(key, names);
  if (!nearest.empty()) return "unknown key '" + key + "'; did you mean '" + nearest + "'?";
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
  return "unknown key '" + key + "'; this call takes: " + list;
}

}  // namespace

Checked<Json> body_object(const net::Request& request, const std::vector<BodyField>& fields) {
  std::vector<BodyField> known = {{"actor"}, {"reason"}, {"force", FieldType::kFlag}};
  known.insert(known.end(), fields.begin(), fields.end());
  auto body = parse_json(request.body.empty() ? "{}" : request.body);
  if (!body) return refuse(400, "the body: " + body.error().message);
  if (!body->is_object()) return refuse(422, "the body must be a JSON object");
  for (const auto& [key, value] : body->items()) {
    const auto it = std::find_if(known.begin(), known.end(),
                                 [&](const auto& field) { return field.name == key; });
    if (it == known.end()) return refuse(422, unknown_key(key, known));
    if (!fits(value, it->type)) {
      return refuse(422, key + ": must be " + std::string(type_name(it->type)));
    }
  }
  for (const auto& field : known) {
    const std::string name(field.name);
    if (field.required && !body->contains(name)) {
      return refuse(422, name + ": missing; write " + std::string(type_name(field.type)));
    }
  }
  return std::move(*body);
}

Result<std::int64_t> query_number(const net::Request& request, const char* name,
                                  std::int64_t fallback, std::int64_t least, std::int64_t most) {
  if (!request.has_query(name)) return fallback;
  const auto text = request.query_value(name);
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  if (!whole || value < least || value > most) {
    return fail(Code::kInvalid, std::string("?") + name + "= must be a whole number from " +
                                    std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

Checked<std::optional<std::uint64_t>> if_match(const net::Request& request) {
  if (!request.headers.has("If-Match")) return std::nullopt;
  std::string_view tag = request.headers.get("If-Match");
  if (tag == "*") return std::nullopt;
  if (tag.size() > 2 && tag.front() == '"' && tag.back() == '"')
    tag = tag.substr(1, tag.size() - 2);
  std::uint64_t seq = 0;
  const auto parsed = std::from_chars(tag.data(), tag.data() + tag.size(), seq);
  if (tag.empty() || parsed.ec != std::errc() || parsed.ptr != tag.data() + tag.size()) {
    return refuse(412,
                  "If-Match: a promotion's ETag is its sequence number in quotes, such as "
                  "\"7\"; read the promotion again");
  }
  return seq;
}

}  // namespace trimtab::daemon
