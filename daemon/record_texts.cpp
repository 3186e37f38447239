// The texts of a record: prompts as turns, answers as strings or messages.
#include "daemon/record_fields.h"

namespace trimtab::daemon {
namespace dom = simdjson::dom;

std::string_view RecordBuilder::raw(const FoundFields& found, Field field, bool object) {
  const Element* element = found.get(field);
  if (element == nullptr) return {};
  if (object ? !element->is_object() : !element->is_array()) {
    fail_with(DeadReason::kBadType, field, object ? "must be an object" : "must be an array");
    return {};
  }
  scratch_.clear();
  append_json(*element, scratch_);
  return arena_->keep(scratch_);
}

std::string_view RecordBuilder::content(const Element& element, Field field) {
  std::string_view plain;
  if (element.is_null()) return {};
  if (element.get_string().get(plain) == simdjson::SUCCESS) return arena_->keep(plain);
  dom::array parts;
  if (element.get_array().get(parts) != simdjson::SUCCESS) {
    fail_with(DeadReason::kBadType, field, "content must be a string or a list of parts");
    return {};
  }
  scratch_.clear();
  for (const Element part : parts) {
    std::string_view piece;
    if (part.get_string().get(piece) != simdjson::SUCCESS &&
        part["text"].get(piece) != simdjson::SUCCESS &&
        part["content"].get(piece) != simdjson::SUCCESS) {
      continue;  // an image, a tool's call: no text
    }
    if (!scratch_.empty()) scratch_ += '\n';
    scratch_ += piece;
  }
  return arena_->keep(scratch_);
}

void RecordBuilder::append_turn(const Element& element, Field field) {
  dom::object message;
  std::string_view plain;
  if (element.get_string().get(plain) == simdjson::SUCCESS) {
    turns_.push_back({"user", arena_->keep(plain)});
    return;
  }
  if (element.get_object().get(message) != simdjson::SUCCESS) {
    return fail_with(DeadReason::kBadType, field, "a message must be an object");
  }
  Turn turn{"user", {}};
  for (const auto entry : message) {
    if (entry.key == "role") {
      std::string_view role;
      if (entry.value.get_string().get(role) != simdjson::SUCCESS) {
        return fail_with(DeadReason::kBadType, field, "a role must be a string");
      }
      turn.role = arena_->keep(role.substr(0, kMaxNameBytes));
    } else if (entry.key == "content" || entry.key == "parts") {
      turn.content = content(entry.value, field);
    }
  }
  turns_.push_back(turn);
}

void RecordBuilder::append_turns(const Element& element, Field field) {
  dom::array messages;
  if (element.get_array().get(messages) == simdjson::SUCCESS) {
    for (const Element message : messages) append_turn(message, field);
    return;
  }
  dom::object object;
  if (element.get_object().get(object) == simdjson::SUCCESS) {
    // {"messages": [..]}, as some loggers wrap it, or one message alone.
    Element inner;
    if (object.at_key("messages").get(inner) == simdjson::SUCCESS) {
      return append_turns(inner, field);
    }
  }
  append_turn(element, field);
}

void RecordBuilder::turns(const FoundFields& found, InferenceRecord& record) {
  turns_.clear();
  if (const Element* system = found.get(Field::kSystem)) {
    const std::string_view instructions = content(*system, Field::kSystem);
    if (!instructions.empty()) turns_.push_back({"system", instructions});
  }
  if (const Element* input = found.get(Field::kInput)) append_turns(*input, Field::kInput);
  record.input = arena_->keep(std::span<const Turn>(turns_));
}

void RecordBuilder::output(const FoundFields& found, InferenceRecord& record) {
  const Element* found_output = found.get(Field::kOutput);
  if (found_output == nullptr) return;
  Element element = *found_output;
  dom::array list;
  if (element.get_array().get(list) == simdjson::SUCCESS) {
    if (list.size() == 0) return;
    element = list.at(list.size() - 1).value_unsafe();  // the last message answers
  }
  dom::object message;
  if (element.get_object().get(message) != simdjson::SUCCESS) {
    record.output = content(element, Field::kOutput);
    return;
  }
  for (const auto entry : message) {
    if (entry.key == "content" || entry.key == "parts" || entry.key == "text") {
      record.output = content(entry.value, Field::kOutput);
    } else if (entry.key == "tool_calls" && entry.value.is_array()) {
      scratch_.clear();
      append_json(entry.value, scratch_);
      record.tool_calls = arena_->keep(scratch_);
    } else if (entry.key == "finish_reason" && record.finish.empty()) {
      std::string_view finish;
      if (entry.value.get_string().get(finish) == simdjson::SUCCESS) {
        record.finish = arena_->keep(finish.substr(0, kMaxNameBytes));
      }
    }
  }
}

}  // namespace trimtab::daemon
