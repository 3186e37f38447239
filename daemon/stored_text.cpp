#include "daemon/stored_text.h"

#include "base/json.h"

namespace trimtab::daemon {

std::string unit_of_ids(config::UnitKey key, std::string_view user, std::string_view session,
                        std::string_view id) {
  if (key == config::UnitKey::kUser && !user.empty()) return std::string(user);
  if (key != config::UnitKey::kRequest && !session.empty()) return std::string(session);
  return std::string(id);
}

Result<StoredText> read_stored_text(const RecordStore& records, const TextPosition& position) {
  if (!position.stored()) return fail(Code::kNotFound, "the record's text is not stored");
  TRIMTAB_TRY(const StoredRecord stored, records.read(position));
  TRIMTAB_TRY(const Json record, parse_json(stored.json));
  StoredText text;
  text.id = json_or<std::string>(record, "id", "");
  text.user_id = json_or<std::string>(record, "user_id", "");
  text.session_id = json_or<std::string>(record, "session_id", "");
  text.tenant = json_or<std::string>(record, "tenant", "");
  text.route = json_or<std::string>(record, "route", "");
  const auto input = record.find("input");
  if (input != record.end() && input->is_string()) {
    text.messages.push_back({{"role", "user"}, {"content", input->get<std::string>()}});
  } else if (input != record.end() && input->is_array()) {
    for (const auto& turn : *input) {
      text.messages.push_back({{"role", json_or<std::string>(turn, "role", "user")},
                               {"content", json_or<std::string>(turn, "content", "")}});
    }
  }
  if (text.messages.empty())
    return fail(Code::kCorrupt, text.id + ": the stored record has no input");
  const auto output = record.find("output");
  if (output != record.end() && output->is_string()) text.output = output->get<std::string>();
  if (output != record.end() && output->is_object()) {
    text.output = json_or<std::string>(*output, "content", "");
  }
  return text;
}

}  // namespace trimtab::daemon
