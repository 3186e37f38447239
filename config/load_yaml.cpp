#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "config/yaml_tree.h"

namespace trimtab::config {
namespace {

Place place_of(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

// Builds the tree from yaml-cpp's events. A frame a container that is open; in a map, nodes arrive
// alternately as key and value.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(YamlDocument& document) : document_(document) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    place({.type = YamlNode::Type::kNull, .place = place_of(mark)});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problem(mark, "aliases (*name) are not used here; write the value out");
    place({.type = YamlNode::Type::kNull, .place = place_of(mark)});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    place({.type = YamlNode::Type::kScalar,
           .place = place_of(mark),
           .text = value,
           .quoted = tag == "!"});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Type::kList);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Type::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    bool has_key = false;
    YamlNode key;
  };

  void problem(const YAML::Mark& mark, std::string message) {
    document_.problems.push_back({place_of(mark), std::move(message)});
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) problem(mark, "anchors (&name) are not used here; write the value out");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      problem(mark, "tags (" + tag + ") are not used here; remove it");
    }
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Type type) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (frames_.size() == kMaxDepth) {
      problem(mark, "nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    Frame frame;
    frame.node.type = type;
    frame.node.place = place_of(mark);
    frames_.push_back(std::move(frame));
  }
  void close() {
    YamlNode node = std::move(frames_.back().node);
    frames_.pop_back();
    // Below the deepest level nothing is kept: what is read later stays shallow.
    if (frames_.size() < kMaxDepth) place(std::move(node));
  }
  void place(YamlNode node) {
    if (frames_.empty()) {
      document_.root = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.type == YamlNode::Type::kList) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.has_key) {
      frame.key = std::move(node);
      frame.has_key = true;
    } else {
      // An absent value has no place of its own (the parser stands on the next token by then).
      if (node.type == YamlNode::Type::kNull) node.place = frame.key.place;
      frame.node.pairs.push_back({std::move(frame.key), std::move(node)});
      frame.has_key = false;
    }
  }

  YamlDocument& document_;
  std::vector<Frame> frames_;
};

// The length of the UTF-8 sequence at the front, 0 when it is none (overlong, surrogate, cut).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;
  if (lead == 0xED && byte(1) > 0x9F) return 0;
  if (lead == 0xF0 && byte(1) < 0x90) return 0;
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

// What the parser would mangle or blame on something else.
void check_text(std::string_view text, std::vector<Problem>& problems) {
  Place place;
  bool indenting = true;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    const std::size_t length = utf8_length(text.substr(i));
    if (length == 0) {
      problems.push_back({place, "not UTF-8; save the file as UTF-8"});
      return;
    }
    const bool control =
        static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t';
    if (control || c == 0x7F) {
      problems.push_back({place, "a control character; remove it"});
      return;
    }
    if (indenting && c == '\t') {
      problems.push_back({place, "a tab in the indentation; use spaces"});
      indenting = false;
    }
    if (c != ' ') indenting = c == '\n';
    if (c == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
    i += length;
  }
}

}  // namespace

YamlDocument parse_yaml(std::string_view text) {
  YamlDocument document;
  if (text.size() > kMaxConfigBytes) {
    document.problems.push_back({{}, "larger than 1MiB; is this a configuration?"});
    return document;
  }
  check_text(text, document.problems);
  if (!document.problems.empty()) return document;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(document);
    if (!parser.HandleNextDocument(builder)) return document;
    YamlDocument second;
    TreeBuilder second_builder(second);
    if (parser.HandleNextDocument(second_builder)) {
      document.problems.push_back(
          {second.root.place, "a second document (---); a configuration is one document"});
    }
  } catch (const YAML::Exception& error) {
    const Place place = error.mark.is_null() ? Place{} : place_of(error.mark);
    document.problems.push_back({place, "not YAML: " + error.msg});
  }
  return document;
}

}  // namespace trimtab::config
