// Saving and restoring a comparison: a row an open unit, chunks of what only grows.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "base/hash.h"
#include "base/json.h"
#include "shadow/ab.h"

namespace trimtab::shadow {
namespace {

// Values of a chunk, and digits of a chunk of `seen` (512 units).
constexpr std::uint64_t kChunk = 256;
constexpr std::size_t kSeenChunk = 16 * 512;

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}
std::optional<double> optional_number(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<double>();
}
Json past_json(const UnitPast& past) {
  return {optional_json(past.complaint), optional_json(past.accuracy), optional_json(past.error),
          optional_json(past.refusal)};
}

}  // namespace

void LiveAb::Waiting::push(const Value& value) {
  dirty.insert((first + values.size()) / kChunk);
  values.push_back(value);
}

LiveAb::Value LiveAb::Waiting::pop() {
  const Value value = values.front();
  values.pop_front();
  dirty.insert(first / kChunk);
  ++first;
  return value;
}

Json LiveAb::core() const {
  Json metrics = Json::array();
  for (const auto& metric : metrics_) {
    Json queues = Json::array();
    for (const auto& queue : metric.waiting) queues.push_back({queue.first, queue.values.size()});
    metrics.push_back({{"stream", metric.stream.save()}, {"queues", std::move(queues)}});
  }
  return {{"experiment", params_.experiment},
          {"plan_hash", config_hash(params_.plan)},
          {"label_wait_ms", params_.label_wait_ms},
          {"open", open_.size()},
          {"metrics", std::move(metrics)},
          {"seen", seen_.size()},
          {"closed", closed_},
          {"exposed", exposed_},
          {"labelled", labelled_},
          {"recent_requests", recent_requests_},
          {"recent_errors", recent_errors_},
          {"counters",
           {mismatched_, unattested_, overflowed_, late_feedback_, recent_matched_,
            recent_mismatched_}},
          {"watermark_ms", watermark_ms_},
          {"last_unit_ms", last_unit_ms_}};
}

void LiveAb::save_waiting(std::vector<Piece>& pieces) {
  for (std::size_t m = 0; m < metrics_.size(); ++m) {
    for (std::size_t arm = 0; arm < 2; ++arm) {
      auto& waiting = metrics_[m].waiting[arm];
      const std::uint64_t end = waiting.first + waiting.values.size();
      for (const std::uint64_t chunk : std::exchange(waiting.dirty, {})) {
        const std::uint64_t from = std::max(waiting.first, chunk * kChunk);
        const std::uint64_t to = std::min(end, (chunk + 1) * kChunk);
        Piece piece{fmt::format("wait/{}/{}/{:012}", m, arm, chunk), {}};
        if (from < to) {
          Json values = {from};
          for (std::uint64_t n = from; n < to; ++n) {
            const Value& value = waiting.values[static_cast<std::size_t>(n - waiting.first)];
            values.push_back(value.before ? Json{value.bad, *value.before} : Json(value.bad));
          }
          piece.bytes = dump_json(values);
        }
        pieces.push_back(std::move(piece));
      }
    }
  }
}

std::vector<LiveAb::Piece> LiveAb::save_changed() {
  std::vector<Piece> pieces;
  for (const auto& unit : std::exchange(dirty_units_, {})) {
    Piece piece{fmt::format("unit/{:016x}", stable_hash(unit)), {}};
    if (const auto found = open_.find(unit); found != open_.end()) {
      const OpenUnit& open = found->second;
      Json guard = Json::array();
      for (const auto& value : open.guard) guard.push_back(optional_json(value));
      piece.bytes = dump_json(Json{unit, open.record_id, open.candidate, open.complaint,
                                   optional_json(open.label), open.ts_ms, std::move(guard),
                                   past_json(open.past)});
    }
    pieces.push_back(std::move(piece));
  }
  save_waiting(pieces);
  for (std::size_t at = seen_saved_ / kSeenChunk * kSeenChunk; at < seen_text_.size();
       at += kSeenChunk) {
    if (seen_saved_ == seen_text_.size()) break;
    pieces.push_back(
        {fmt::format("seen/{:08}", at / kSeenChunk), seen_text_.substr(at, kSeenChunk)});
  }
  seen_saved_ = seen_text_.size();
  std::string text = dump_json(core());
  if (text != saved_core_) {
    saved_core_ = text;
    pieces.push_back({"core", std::move(text)});
  }
  return pieces;
}

Status LiveAb::restore_core(const Json& saved) {
  if (saved.at("experiment") != params_.experiment ||
      saved.at("plan_hash") != config_hash(params_.plan) ||
      saved.at("label_wait_ms") != params_.label_wait_ms) {
    return fail(Code::kCorrupt, "live A/B: saved under another experiment, plan or W");
  }
  const Json& metrics = saved.at("metrics");
  if (metrics.size() != metrics_.size()) {
    return fail(Code::kCorrupt, "live A/B: another number of metrics");
  }
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    TRIMTAB_CHECK_OK(metrics_[i].stream.restore(metrics[i].at("stream")));
    for (std::size_t arm = 0; arm < 2; ++arm) {
      metrics_[i].waiting[arm].first = metrics[i].at("queues").at(arm).at(0).get<std::uint64_t>();
    }
  }
  const auto two = [&](const char* key, std::uint64_t(&into)[2]) {
    for (std::size_t i = 0; i < 2; ++i) into[i] = saved.at(key).at(i).get<std::uint64_t>();
  };
  two("closed", closed_);
  two("exposed", exposed_);
  two("labelled", labelled_);
  two("recent_requests", recent_requests_);
  two("recent_errors", recent_errors_);
  std::uint64_t* counters[] = {&mismatched_,    &unattested_,     &overflowed_,
                               &late_feedback_, &recent_matched_, &recent_mismatched_};
  for (std::size_t i = 0; i < std::size(counters); ++i) {
    *counters[i] = saved.at("counters").at(i).get<std::uint64_t>();
  }
  watermark_ms_ = saved.at("watermark_ms").get<std::int64_t>();
  last_unit_ms_ = saved.at("last_unit_ms").get<std::int64_t>();
  return {};
}

void LiveAb::restore_unit(const Json& row) {
  OpenUnit open;
  const auto unit = row.at(0).get<std::string>();
  open.record_id = row.at(1).get<std::string>();
  open.candidate = row.at(2).get<bool>();
  open.complaint = row.at(3).get<bool>();
  open.label = optional_number(row.at(4));
  open.ts_ms = row.at(5).get<std::int64_t>();
  for (const auto& value : row.at(6)) open.guard.push_back(optional_number(value));
  const Json& past = row.at(7);
  open.past = {optional_number(past.at(0)), optional_number(past.at(1)),
               optional_number(past.at(2)), optional_number(past.at(3))};
  closing_.emplace(close_ms(open), unit);
  by_record_.emplace(open.record_id, unit);
  open_.emplace(unit, std::move(open));
}

Status LiveAb::restore_seen(const std::string& digits) {
  for (std::size_t i = 0; i + 16 <= digits.size(); i += 16) {
    std::uint64_t hash = 0;
    const auto parsed = std::from_chars(&digits[i], &digits[i] + 16, hash, 16);
    if (parsed.ptr != &digits[i] + 16) return fail(Code::kCorrupt, "live A/B: 'seen' is not hex");
    remember(hash);
  }
  return {};
}

Status LiveAb::restore_waiting(const std::string& name, const std::string& bytes) {
  std::size_t metric = 0, arm = 0;
  const bool named = std::sscanf(name.c_str(), "wait/%zu/%zu/", &metric, &arm) == 2;
  if (!named || metric >= metrics_.size() || arm > 1) {
    return fail(Code::kCorrupt, "live A/B: no such queue: " + name);
  }
  TRIMTAB_TRY(const Json values, parse_json(bytes));
  Waiting& waiting = metrics_[metric].waiting[arm];
  if (values.at(0) != waiting.first + waiting.values.size()) {
    return fail(Code::kCorrupt, "live A/B: a queue has a hole before " + name);
  }
  for (std::size_t i = 1; i < values.size(); ++i) {
    const Json& value = values[i];
    waiting.values.push_back(value.is_array()
                                 ? Value{value.at(0).get<double>(), value.at(1).get<double>()}
                                 : Value{value.get<double>(), std::nullopt});
  }
  return {};
}

Result<LiveAb> LiveAb::restore(Params params, const std::vector<Piece>& pieces) {
  LiveAb ab(std::move(params));
  std::map<std::string, const std::string*> by_name;  // chunks in their order
  for (const auto& piece : pieces) by_name[piece.name] = &piece.bytes;
  const auto core = by_name.find("core");
  if (core == by_name.end()) return fail(Code::kCorrupt, "live A/B: its core was not saved");
  try {
    TRIMTAB_TRY(const Json saved, parse_json(*core->second));
    TRIMTAB_CHECK_OK(ab.restore_core(saved));
    for (const auto& [name, bytes] : by_name) {
      if (name.starts_with("seen/")) TRIMTAB_CHECK_OK(ab.restore_seen(*bytes));
      if (name.starts_with("unit/")) {
        TRIMTAB_TRY(const Json row, parse_json(*bytes));
        ab.restore_unit(row);
      }
      if (name.starts_with("wait/")) TRIMTAB_CHECK_OK(ab.restore_waiting(name, *bytes));
    }
    bool whole = ab.open_.size() == saved.at("open") && ab.seen_.size() == saved.at("seen");
    for (std::size_t i = 0; i < ab.metrics_.size(); ++i) {
      for (std::size_t arm = 0; arm < 2; ++arm) {
        const auto count = saved.at("metrics").at(i).at("queues").at(arm).at(1);
        whole = whole && ab.metrics_[i].waiting[arm].values.size() == count;
      }
    }
    if (!whole) return fail(Code::kCorrupt, "live A/B: pieces of what was saved are missing");
  } catch (const nlohmann::json::exception& error) {
    return fail(Code::kCorrupt, std::string("live A/B: ") + error.what());
  }
  ab.seen_saved_ = ab.seen_text_.size();
  ab.saved_core_ = *core->second;
  return ab;
}

}  // namespace trimtab::shadow
