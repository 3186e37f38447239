#include "config/document.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "base/json.h"
#include "config/tables.h"

namespace trimtab::config {
namespace {

// A value as JSON, in the base unit.
OrderedJson plain_json(const Value& value) {
  return std::visit(
      [](const auto& held) -> OrderedJson {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, Rate>) {
          return OrderedJson{{"count", held.count}, {"per_ms", held.per_ms}};
        } else {
          return OrderedJson(held);
        }
      },
      value);
}

OrderedJson section_json(const Section& section, const void* owner) {
  OrderedJson object = OrderedJson::object();
  for (const Row& row : section.rows) {
    if (row.kind == Kind::kSection) {
      object[row.key] = section_json(*row.section, row.element(owner, 0));
    } else if (row.kind == Kind::kSections) {
      OrderedJson list = OrderedJson::array();
      for (std::size_t i = 0; i < row.count(owner); ++i) {
        list.push_back(section_json(*row.section, row.element(owner, i)));
      }
      object[row.key] = std::move(list);
    } else {
      object[row.key] = plain_json(row.fetch(owner));
    }
  }
  return object;
}

// Quoted always: no text is ever read back as a number, null or an anchor. JSON's escapes are
// YAML's, in double quotes.
std::string quoted(const std::string& text) { return dump_json(OrderedJson(text)); }

template <typename List, typename Format>
std::string flow_list(const List& list, Format format) {
  std::string text = "[";
  for (const auto& item : list) text += (text.size() == 1 ? "" : ", ") + format(item);
  return text + "]";
}

template <typename Map, typename Format>
std::string flow_map(const Map& map, Format format) {
  std::string text = "{";
  for (const auto& [key, value] : map) {
    text += (text.size() == 1 ? "" : ", ") + quoted(key) + ": " + format(value);
  }
  return text + "}";
}

// A value as the strict reader takes it.
std::string scalar_yaml(const Row& row, const Value& value) {
  switch (row.kind) {
    case Kind::kBool: return std::get<bool>(value) ? "true" : "false";
    case Kind::kInteger: return std::to_string(std::get<std::int64_t>(value));
    case Kind::kNumber: return format_number(std::get<double>(value));
    case Kind::kString:
    case Kind::kPath: return quoted(std::get<std::string>(value));
    case Kind::kChoice: return std::get<std::string>(value);
    case Kind::kDuration: return format_duration(std::get<std::int64_t>(value));
    case Kind::kSize: return format_size(std::get<std::int64_t>(value));
    case Kind::kRate: return format_rate(std::get<Rate>(value));
    case Kind::kStrings: return flow_list(std::get<std::vector<std::string>>(value), quoted);
    case Kind::kNumbers: return flow_list(std::get<std::vector<double>>(value), format_number);
    case Kind::kStringMap:
      return flow_map(std::get<std::map<std::string, std::string>>(value), quoted);
    case Kind::kNumberMap:
      return flow_map(std::get<NumberMap>(value), format_number);
    case Kind::kSection:
    case Kind::kSections: break;
  }
  return {};
}

bool is_empty_yaml(const std::string& text) {
  return text == "\"\"" || text == "[]" || text == "{}";
}

// Behind a value where it fits the line, above a section or a long line.
void add_doc(const Row& row, const std::string& indent, bool in_list, std::string& whole,
             std::string& out) {
  constexpr std::size_t kColumn = 40, kWidth = 98;
  const std::size_t column = std::max(kColumn, whole.size() + 2);
  const bool value = row.kind != Kind::kSection && row.kind != Kind::kSections;
  if (in_list || (value && column + 2 + row.doc.size() <= kWidth)) {
    whole += std::string(column - whole.size(), ' ') + "# " + row.doc;
  } else {
    out += (value ? "" : "\n") + indent + "# " + row.doc + "\n";
  }
}

void write_section(const Section& section, const void* owner, const YamlStyle& style,
                   std::string indent, bool in_list, std::string& out) {
  const std::string rest = in_list ? indent + "  " : indent;
  for (const Row& row : section.rows) {
    std::string line;
    if (row.kind != Kind::kSection && row.kind != Kind::kSections) {
      const std::string value = scalar_yaml(row, row.fetch(owner));
      if (style.skip_empty && is_empty_yaml(value)) continue;
      line = " " + value;
    } else if (row.kind == Kind::kSections && row.count(owner) == 0) {
      if (style.skip_empty) continue;
      line = " []";
    }
    std::string whole = (in_list ? indent + "- " : rest) + row.key + ":" + line;
    if (style.docs && !row.doc.empty()) add_doc(row, rest, in_list, whole, out);
    out += whole + "\n";
    in_list = false;
    if (row.kind == Kind::kSection) {
      write_section(*row.section, row.element(owner, 0), style, rest + "  ", false, out);
    } else if (row.kind == Kind::kSections) {
      for (std::size_t i = 0; i < row.count(owner); ++i) {
        write_section(*row.section, row.element(owner, i), style, rest + "  ", true, out);
      }
    }
  }
}

void add_range(const Row& row, OrderedJson& schema) {
  if (std::isfinite(row.low)) schema["minimum"] = row.low;
  if (std::isfinite(row.high)) schema["maximum"] = row.high;
}

OrderedJson section_schema(const Section& section);

OrderedJson scalar_schema(const Row& row) {
  OrderedJson schema = OrderedJson::object();
  switch (row.kind) {
    case Kind::kBool: schema["type"] = "boolean"; break;
    case Kind::kInteger:
      schema["type"] = "integer";
      add_range(row, schema);
      break;
    case Kind::kNumber:
      schema["type"] = "number";
      add_range(row, schema);
      break;
    case Kind::kString:
    case Kind::kPath: schema["type"] = "string"; break;
    case Kind::kChoice: schema["enum"] = row.choices; break;
    case Kind::kDuration:
      schema["type"] = OrderedJson::array({"string", "integer"});
      schema["pattern"] = R"(^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ms|s|m|h|d|w)$)";
      schema["maximum"] = 0;  // the one duration that needs no unit
      break;
    case Kind::kSize:
      schema["type"] = OrderedJson::array({"string", "integer"});
      schema["pattern"] = R"(^([0-9]+(\.[0-9]*)?|\.[0-9]+)(B|KiB|MiB|GiB|TiB)$)";
      schema["maximum"] = 0;
      break;
    case Kind::kRate:
      schema["type"] = "string";
      schema["pattern"] = R"(^[0-9.eE+-]+ per [0-9.]+(ms|s|m|h|d|w)$)";
      break;
    case Kind::kStrings:
      schema["type"] = row.single ? OrderedJson::array({"array", "string"}) : OrderedJson("array");
      schema["uniqueItems"] = true;
      schema["items"] = {{"type", "string"}};
      if (!row.choices.empty()) schema["items"] = {{"enum", row.choices}};
      break;
    case Kind::kNumbers: {
      OrderedJson items = {{"type", "number"}};
      add_range(row, items);
      schema["type"] = "array";
      schema["items"] = std::move(items);
      break;
    }
    case Kind::kStringMap:
      schema["type"] = "object";
      schema["additionalProperties"] = {
          {"type", OrderedJson::array({"string", "number", "boolean"})}};
      break;
    case Kind::kNumberMap:
      schema["type"] = "object";
      schema["additionalProperties"] = {{"type", "number"}};
      break;
    case Kind::kSection: {
      schema = section_schema(*row.section);
      // `http:` with only comments below it is null, and means the defaults.
      if (!schema.contains("required")) schema["type"] = OrderedJson::array({"object", "null"});
      break;
    }
    case Kind::kSections:
      schema["type"] = "array";
      schema["items"] = section_schema(*row.section);
      break;
  }
  return schema;
}

// The default as people write it: text with a unit, or plain JSON.
OrderedJson default_json(const Row& row, const void* owner) {
  const Value value = row.fetch(owner);
  if (row.kind == Kind::kDuration || row.kind == Kind::kSize || row.kind == Kind::kRate) {
    return scalar_yaml(row, value);
  }
  return plain_json(value);
}

OrderedJson section_schema(const Section& section) {
  const std::shared_ptr<void> defaults = section.make_default();
  OrderedJson properties = OrderedJson::object();
  OrderedJson required = OrderedJson::array();
  for (const Row& row : section.rows) {
    OrderedJson schema = scalar_schema(row);
    schema["description"] = row.doc;
    if (row.required) {
      required.push_back(row.key);
    } else if (row.fetch) {
      schema["default"] = default_json(row, defaults.get());
    }
    properties[row.key] = std::move(schema);
  }
  OrderedJson object = {{"type", "object"}, {"additionalProperties", false}};
  if (!required.empty()) object["required"] = std::move(required);
  object["properties"] = std::move(properties);
  return object;
}

std::string kind_text(const Row& row) {
  switch (row.kind) {
    case Kind::kBool: return "true or false";
    case Kind::kInteger: return "integer";
    case Kind::kNumber: return "number";
    case Kind::kString: return "text";
    case Kind::kPath: return "path";
    case Kind::kDuration: return "duration";
    case Kind::kSize: return "size";
    case Kind::kRate: return "rate";
    case Kind::kChoice: return "word";
    case Kind::kStrings: return row.choices.empty() ? "list of texts" : "list of words";
    case Kind::kNumbers: return "list of numbers";
    case Kind::kStringMap: return "map of texts";
    case Kind::kNumberMap: return "map of numbers";
    case Kind::kSection: return "section";
    case Kind::kSections: return "list of sections";
  }
  return "";
}

std::string bound(const Row& row, double value) {
  if (row.kind == Kind::kDuration) return format_duration(static_cast<std::int64_t>(value));
  if (row.kind == Kind::kSize) return format_size(static_cast<std::int64_t>(value));
  // Integers up to 1e15 in full: "10000000", not "1e+07".
  if (std::abs(value) < 1e15 && value == std::floor(value)) {
    return std::to_string(static_cast<std::int64_t>(value));
  }
  return format_number(value);
}

std::string range_text(const Row& row) {
  if (!row.choices.empty()) {
    std::string text;
    for (const auto& choice : row.choices) text += (text.empty() ? "" : ", ") + choice;
    return text;
  }
  if (!std::isfinite(row.low)) return "";
  return bound(row, row.low) + " .. " + (std::isfinite(row.high) ? bound(row, row.high) : "");
}

void reference_section(const Section& section, const std::string& path, std::string& out) {
  out += "\n### " + (path.empty() ? "top level" : "`" + path + "`") +
         "\n\n| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n";
  const std::shared_ptr<void> defaults = section.make_default();
  for (const Row& row : section.rows) {
    std::string fallback = row.required ? "required" : "";
    if (!row.required && row.fetch) {
      fallback = "`" + scalar_yaml(row, row.fetch(defaults.get())) + "`";
    }
    out += "| `" + row.key + "` | " + kind_text(row) + " | " + fallback + " | " + range_text(row) +
           " | " + row.doc + " |\n";
  }
  for (const Row& row : section.rows) {
    if (!row.section) continue;
    reference_section(
        *row.section,
        (path.empty() ? "" : path + ".") + row.key + (row.kind == Kind::kSections ? "[]" : ""),
        out);
  }
}

void collect_changes(const Section& section, const void* a, const void* b, const std::string& path,
                     std::vector<std::string>& out) {
  for (const Row& row : section.rows) {
    const std::string key = path + row.key;
    if (row.kind == Kind::kSection) {
      collect_changes(*row.section, row.element(a, 0), row.element(b, 0), key + ".", out);
    } else if (row.kind != Kind::kSections) {
      if (plain_json(row.fetch(a)) != plain_json(row.fetch(b))) out.push_back(key);
    } else if (row.count(a) != row.count(b)) {
      out.push_back(key);
    } else {
      for (std::size_t i = 0; i < row.count(a); ++i) {
        collect_changes(*row.section, row.element(a, i), row.element(b, i),
                        key + "[" + std::to_string(i) + "].", out);
      }
    }
  }
}

}  // namespace

std::vector<std::string> changed_keys(const Settings& a, const Settings& b) {
  std::vector<std::string> keys;
  collect_changes(settings_section(), &a, &b, "", keys);
  return keys;
}

std::string canonical_json(const Section& section, const void* owner) {
  return dump_json(section_json(section, owner));
}

std::string write_yaml(const Section& section, const void* owner, const YamlStyle& style) {
  std::string out;
  write_section(section, owner, style, "", false, out);
  return out;
}

std::string schema_json(const Section& section, const std::string& title) {
  OrderedJson schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                        {"title", title}};
  schema.update(section_schema(section));
  return dump_json(schema, 2) + "\n";
}

std::string reference_markdown(const Section& section, const std::string& title) {
  std::string out = "## " + title + "\n";
  reference_section(section, "", out);
  return out;
}

std::string config_hash(const Settings& settings) {
  return sha256_hex(canonical_json(settings_section(), &settings));
}

std::string settings_schema() { return schema_json(settings_section(), "trimtabd"); }
std::string gateway_schema() { return schema_json(gateway_section(), "trimtab-gateway"); }

std::string settings_reference() {
  return "# Configuration\n\nGenerated from the tables in `config/`; `trimtab check-config` reads "
         "a file by them.\nDurations are a number with ms, s, m, h, d or w; sizes with B, KiB, "
         "MiB, "
         "GiB or TiB; rates `1 per 30d`.\n\n" +
         reference_markdown(settings_section(), "trimtabd") + "\n" +
         reference_markdown(gateway_section(), "trimtab-gateway");
}

std::string settings_yaml(const Settings& settings) {
  return write_yaml(settings_section(), &settings);
}

}  // namespace trimtab::config
