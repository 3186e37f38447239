#include "base/net/client.h"
#include "base/net/server.h"

namespace trimtab::net {
namespace {

void append_lines(std::string& out, std::string_view field, std::string_view text) {
  for (;;) {
    const auto end = text.find_first_of("\r\n");
    out.append(field).append(": ").append(text.substr(0, end)).push_back('\n');
    if (end == std::string_view::npos) return;
    const bool pair = text.substr(end).starts_with("\r\n");
    text.remove_prefix(end + (pair ? 2 : 1));
  }
}

}  // namespace

SseWriter::SseWriter(ResponseWriter& writer) : writer_(writer) {
  writer_.begin(200, {{"Content-Type", "text/event-stream"},
                      {"Cache-Control", "no-store"},
                      {"X-Accel-Buffering", "no"}});
}

bool SseWriter::event(std::string_view name, std::string_view data, std::string_view id) {
  std::string out;
  const auto one_line = [](std::string_view text) {
    return text.substr(0, text.find_first_of("\r\n"));
  };
  if (!id.empty()) append_lines(out, "id", one_line(id));
  if (!name.empty()) append_lines(out, "event", one_line(name));
  append_lines(out, "data", data);
  out.push_back('\n');
  return writer_.write(out);
}

bool SseWriter::ping() { return writer_.write(":\n\n"); }

bool SseParser::feed(std::string_view piece, const std::function<void(const Event&)>& on_event,
                     std::size_t limit_bytes) {
  for (const char c : piece) {
    const bool second_of_pair = skip_newline_ && c == '\n';
    skip_newline_ = c == '\r';
    if (second_of_pair) continue;
    if (c != '\n' && c != '\r') {
      if (line_.size() + event_.data.size() >= limit_bytes) return false;
      line_.push_back(c);
      continue;
    }
    if (line_.empty()) {
      if (any_) {
        if (!event_.data.empty()) event_.data.pop_back();  // the last line break
        on_event(event_);
      }
      event_ = {};
      any_ = false;
      continue;
    }
    const auto colon = line_.find(':');
    const std::string_view field = std::string_view(line_).substr(0, colon);
    std::string_view value;
    if (colon != std::string::npos) value = std::string_view(line_).substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "data") {
      event_.data.append(value).push_back('\n');
      any_ = true;
    } else if (field == "event") {
      event_.name = value;
    } else if (field == "id") {
      event_.id = value;
    }
    line_.clear();
  }
  return true;
}

}  // namespace trimtab::net
