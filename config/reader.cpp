#include "config/reader.h"

#include <algorithm>
#include <set>

#include "config/spelling.h"

namespace trimtab::config {
namespace {

using Type = YamlNode::Type;

std::string shown(const std::string& text) {
  constexpr std::size_t kLongest = 60;
  return "'" + (text.size() > kLongest ? text.substr(0, kLongest) + ".." : text) + "'";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string what_is(const YamlNode& node) {
  switch (node.type) {
    case Type::kNull: return "nothing";
    case Type::kList: return "a list";
    case Type::kMap: return "a section (key: value lines)";
    case Type::kScalar: break;
  }
  return node.quoted ? "the text \"" + node.text + "\"" : shown(node.text);
}

std::string kind_name(const Row& row) {
  switch (row.kind) {
    case Kind::kBool: return "true or false";
    case Kind::kInteger: return "an integer";
    case Kind::kNumber: return "a number";
    case Kind::kString: return "a text";
    case Kind::kPath: return "a path";
    case Kind::kDuration: return "a duration such as 10s";
    case Kind::kSize: return "a size such as 64MiB";
    case Kind::kRate: return "a rate such as 1 per 30d";
    case Kind::kChoice: return "one of " + joined(row.choices);
    case Kind::kStrings: return "a list of texts";
    case Kind::kNumbers: return "a list of numbers";
    case Kind::kStringMap: return "a section of key: text lines";
    case Kind::kNumberMap: return "a section of key: number lines";
    case Kind::kSection: return "a section (key: value lines)";
    case Kind::kSections: return "a list of sections";
  }
  return "a value";
}

std::string bound_text(const Row& row, double bound) {
  if (row.kind == Kind::kDuration) return format_duration(static_cast<std::int64_t>(bound));
  if (row.kind == Kind::kSize) return format_size(static_cast<std::int64_t>(bound));
  if (row.kind == Kind::kInteger) return std::to_string(static_cast<std::int64_t>(bound));
  return format_number(bound);
}

// Empty when the value lies in the row's range.
std::string range_problem(const Row& row, double value, const std::string& text) {
  if (value >= row.low && value <= row.high) return {};
  std::string allowed;
  if (row.high == kUnbounded) {
    allowed = "at least " + bound_text(row, row.low);
  } else if (row.low == -kUnbounded) {
    allowed = "at most " + bound_text(row, row.high);
  } else {
    allowed = "from " + bound_text(row, row.low) + " to " + bound_text(row, row.high);
  }
  return shown(text) + " is out of range; allowed: " + allowed;
}

// One value being read: where it stands, what is said about it.
class ValueReader {
 public:
  ValueReader(const Row& row, const std::string& path, ReadContext& context)
      : row_(row), path_(path), context_(context) {}

  // False, with a problem noted, when the node does not hold such a value.
  bool read(const YamlNode& node, Value& out) {
    switch (row_.kind) {
      case Kind::kBool: return boolean(node, out);
      case Kind::kInteger: return ranged(node, parse_integer, out);
      case Kind::kDuration: return ranged(node, parse_duration_ms, out);
      case Kind::kSize: return ranged(node, parse_size_bytes, out);
      case Kind::kNumber: return ranged(node, parse_number, out);
      case Kind::kRate: return rate(node, out);
      case Kind::kString:
      case Kind::kPath:
      case Kind::kChoice: return text(node, out);
      case Kind::kStrings: return strings(node, out);
      case Kind::kNumbers: return numbers(node, out);
      case Kind::kStringMap: return string_map(node, out);
      case Kind::kNumberMap: return number_map(node, out);
      case Kind::kSection:
      case Kind::kSections: break;
    }
    return false;
  }

 private:
  bool problem(const YamlNode& node, const std::string& message) {
    context_.problems.push_back({node.place, path_ + ": " + message});
    return false;
  }
  bool wrong_type(const YamlNode& node, const std::string& wanted) {
    if (node.type == Type::kNull) {
      return problem(node, "has no value; write " + wanted + " or remove the key");
    }
    return problem(node, "is " + what_is(node) + "; write " + wanted);
  }
  bool boolean(const YamlNode& node, Value& out) {
    const bool plain = node.type == Type::kScalar && !node.quoted;
    if (!plain || (node.text != "true" && node.text != "false")) {
      return wrong_type(node, kind_name(row_));
    }
    out = node.text == "true";
    return true;
  }
  template <typename Number>
  bool ranged(const YamlNode& node, Result<Number> (*parse)(std::string_view), Value& out) {
    if (node.type != Type::kScalar || node.quoted) return wrong_type(node, kind_name(row_));
    const auto value = parse(node.text);
    if (!value) return problem(node, value.error().message);
    const std::string range = range_problem(row_, static_cast<double>(*value), node.text);
    if (!range.empty()) return problem(node, range);
    out = *value;
    return true;
  }
  bool rate(const YamlNode& node, Value& out) {
    if (node.type != Type::kScalar) return wrong_type(node, kind_name(row_));
    const auto value = parse_rate(node.text);
    if (!value) return problem(node, value.error().message);
    out = *value;
    return true;
  }
  bool word(const YamlNode& node, const std::string& wanted, std::string& out) {
    if (node.type != Type::kScalar) return wrong_type(node, wanted);
    if (row_.choices.empty()) return checked(node, out);
    for (const std::string& choice : row_.choices) {
      if (choice != node.text) continue;
      out = choice;
      return true;
    }
    const std::string nearest = nearest_word(node.text, row_.choices);
    return problem(node, shown(node.text) + " is not one of " + joined(row_.choices) +
                             (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
  }
  bool checked(const YamlNode& node, std::string& out) {
    if (row_.required && node.text.empty()) return problem(node, "is empty; " + row_.doc);
    const std::string wrong = row_.check ? row_.check(node.text) : "";
    if (!wrong.empty()) return problem(node, shown(node.text) + " " + wrong);
    out = node.text;
    if (row_.kind == Kind::kPath && !out.empty() && !context_.folder.empty()) {
      out = (context_.folder / out).lexically_normal().string();
    }
    return true;
  }
  bool text(const YamlNode& node, Value& out) {
    std::string value;
    if (!word(node, kind_name(row_), value)) return false;
    out = std::move(value);
    return true;
  }
  bool strings(const YamlNode& node, Value& out) {
    if (row_.single && node.type == Type::kScalar) {
      std::vector<std::string> one(1);
      if (!word(node, "a text", one[0])) return false;
      out = std::move(one);
      return true;
    }
    if (node.type != Type::kList) return wrong_type(node, kind_name(row_));
    std::vector<std::string> list;
    std::set<std::string> seen;
    bool whole = true;
    for (const YamlNode& item : node.items) {
      std::string value;
      if (!word(item, "a text", value)) {
        whole = false;
      } else if (!seen.insert(value).second) {
        whole = problem(item, shown(value) + " is listed twice");
      }
      list.push_back(std::move(value));
    }
    out = std::move(list);
    return whole;
  }
  bool numbers(const YamlNode& node, Value& out) {
    if (node.type != Type::kList) return wrong_type(node, kind_name(row_));
    std::vector<double> list;
    bool whole = true;
    for (const YamlNode& item : node.items) {
      Value value = 0.0;
      whole = ranged(item, parse_number, value) && whole;
      list.push_back(std::get<double>(value));
    }
    out = std::move(list);
    return whole;
  }
  bool string_map(const YamlNode& node, Value& out) {
    if (node.type != Type::kMap) return wrong_type(node, kind_name(row_));
    std::map<std::string, std::string> map;
    bool whole = true;
    for (const auto& [key, value] : node.pairs) {
      if (key.type != Type::kScalar || value.type != Type::kScalar) {
        whole =
            problem(key, "is " + what_is(value) + " under " + shown(key.text) + "; write a text");
      } else if (!map.emplace(key.text, value.text).second) {
        whole = problem(key, "the key " + shown(key.text) + " is given twice");
      }
    }
    out = std::move(map);
    return whole;
  }

  bool number_map(const YamlNode& node, Value& out) {
    if (node.type != Type::kMap) return wrong_type(node, kind_name(row_));
    NumberMap map;
    bool whole = true;
    for (const auto& [key, value] : node.pairs) {
      Value number = 0.0;
      if (key.type != Type::kScalar || !ranged(value, parse_number, number)) {
        whole = false;
      } else if (std::any_of(map.begin(), map.end(),
                             [&key = key](const auto& entry) { return entry.first == key.text; })) {
        whole = problem(key, "the key " + shown(key.text) + " is given twice");
      } else {
        map.emplace_back(key.text, std::get<double>(number));
      }
    }
    out = std::move(map);
    return whole;
  }

  const Row& row_;
  const std::string& path_;
  ReadContext& context_;
};

// Every place below `section` where `key` is valid, as a path; depth first, the first one found.
std::string find_elsewhere(const Section& section, const std::string& key,
                           const std::string& path) {
  for (const Row& row : section.rows) {
    if (!row.section) continue;
    const std::string below =
        (path.empty() ? "" : path + ".") + row.key + (row.kind == Kind::kSections ? "[]" : "");
    if (row.section->find(key) != nullptr) return below;
    std::string deeper = find_elsewhere(*row.section, key, below);
    if (!deeper.empty()) return deeper;
  }
  return {};
}

std::string unknown_key(const std::string& key, const Section& section) {
  std::vector<std::string> valid;
  for (const Row& row : section.rows) valid.push_back(row.key);
  const std::string nearest = nearest_word(key, valid);
  if (!nearest.empty()) return "unknown key; did you mean '" + nearest + "'?";
  const std::string elsewhere = find_elsewhere(section, key, "");
  if (!elsewhere.empty()) return "unknown key here; it belongs under '" + elsewhere + "'";
  return "unknown key; valid here: " + joined(valid);
}

void read_row(const YamlNode& node, const Row& row, void* owner, const std::string& path,
              ReadContext& context);

void read_list(const YamlNode& node, const Row& row, void* owner, const std::string& path,
               ReadContext& context) {
  if (node.type != Type::kList) {
    context.problems.push_back({node.place, path + ": is " + what_is(node) + "; write " +
                                                kind_name(row) + ", each after '- '"});
    return;
  }
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const std::string element = path + "[" + std::to_string(i) + "]";
    context.places[element] = node.items[i].place;
    read_section(node.items[i], *row.section, row.append(owner), element, context);
  }
}

void read_row(const YamlNode& node, const Row& row, void* owner, const std::string& path,
              ReadContext& context) {
  if (row.kind == Kind::kSection) {
    // `http:` with nothing but comments below means the defaults.
    if (node.type != Type::kNull) {
      read_section(node, *row.section, row.child(owner), path, context);
      return;
    }
    YamlNode empty = node;
    empty.type = Type::kMap;
    read_section(empty, *row.section, row.child(owner), path, context);
  } else if (row.kind == Kind::kSections) {
    read_list(node, row, owner, path, context);
  } else if (Value value; ValueReader(row, path, context).read(node, value)) {
    row.store(owner, value);
  }
}

}  // namespace

void read_section(const YamlNode& node, const Section& section, void* owner,
                  const std::string& path, ReadContext& context) {
  const std::string prefix = path.empty() ? "" : path + ".";
  if (node.type != Type::kMap) {
    context.problems.push_back({node.place, (path.empty() ? "the configuration" : path) + ": is " +
                                                what_is(node) + "; write key: value lines"});
    return;
  }
  std::map<std::string, Place> seen;
  for (const auto& [key, value] : node.pairs) {
    if (key.type != Type::kScalar) {
      context.problems.push_back({key.place, prefix + "?: a key must be a plain word"});
      continue;
    }
    const auto [first, fresh] = seen.emplace(key.text, key.place);
    if (!fresh) {
      context.problems.push_back({key.place, prefix + key.text +
                                                 ": given twice; the first is at line " +
                                                 std::to_string(first->second.line)});
      continue;
    }
    const Row* row = section.find(key.text);
    if (row == nullptr) {
      context.problems.push_back(
          {key.place, prefix + (key.text.size() > 60 ? key.text.substr(0, 60) + ".." : key.text) +
                          ": " + unknown_key(key.text, section)});
      continue;
    }
    context.places[prefix + key.text] = value.place;
    read_row(value, *row, owner, prefix + key.text, context);
  }
  for (const Row& row : section.rows) {
    if (row.required && !seen.contains(row.key)) {
      context.problems.push_back({node.place, prefix + row.key + ": missing; " + row.doc});
    }
  }
}

std::string lines_of(std::vector<Problem> problems, const std::string& name) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  std::string text;
  for (const Problem& problem : problems) {
    std::string message = problem.message;
    // Keys and values come from the file: they shall not break the line or the terminal.
    for (char& c : message) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
    }
    if (!text.empty()) text += '\n';
    text += name + ":" + std::to_string(problem.place.line) + ":" +
            std::to_string(problem.place.column) + ": " + message;
  }
  return text;
}

Status read_document(std::string_view text, const std::string& name,
                     const std::filesystem::path& folder, const Section& section, void* owner) {
  YamlDocument document = parse_yaml(text);
  ReadContext context{.folder = folder, .problems = std::move(document.problems), .places = {}};
  if (context.problems.empty()) read_section(document.root, section, owner, "", context);
  if (context.problems.empty()) return {};
  return fail(Code::kInvalid, lines_of(std::move(context.problems), name));
}

Place place_of_path(const Places& places, std::string path) {
  for (;;) {
    const auto found = places.find(path);
    if (found != places.end()) return found->second;
    const auto cut = path.find_last_of(".[");
    if (cut == std::string::npos) return {};
    path.resize(cut);
  }
}

}  // namespace trimtab::config
