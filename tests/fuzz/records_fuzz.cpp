// The record decoder in every mapping, and bodies of POST /api/v1/records; and the short way
// against the long one.
#include "daemon/record_codec.h"
#include "tests/daemon/record_alike.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace trimtab;

// Canonical without a mapping of one's own: the messages that the scanner takes.
daemon::RecordCodec plain_codec() {
  auto codec = daemon::RecordCodec::create({}, {"bot"}).value();
  CHECK(codec.set_pointers("bot", {"/attributes/plan", "/attributes/n"}).has_value(), "pointers");
  return codec;
}

struct Codecs {
  daemon::RecordCodec plain = plain_codec();
  std::vector<daemon::RecordCodec> all;
  daemon::TextArena arena;
  daemon::RecordBatch batch;

  Codecs() {
    for (const auto mapping : {config::Mapping::kCanonical, config::Mapping::kOtel,
                               config::Mapping::kLitellm, config::Mapping::kLangfuse}) {
      config::IngestSettings settings;
      settings.mapping = mapping;
      if (mapping == config::Mapping::kCanonical) settings.pointers = {{"tenant", "/attributes/t"}};
      auto codec = daemon::RecordCodec::create(settings, {"bot"}).value();
      CHECK(codec.set_pointers("bot", {"/attributes/plan", "/tok/in"}).has_value(), "pointers");
      all.push_back(std::move(codec));
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Codecs codecs;
  constexpr std::int64_t kNow = 1'763'859'100'000;
  const std::string_view text = trimtab::fuzz::text_of(data, size);
  CHECK(trimtab::tests::ways_agree(codecs.plain, text, kNow, codecs.arena), "the two ways differ");
  for (auto& codec : codecs.all) {
    const auto decoded = codec.decode(text, kNow - 5'000, kNow, codecs.arena);
    if (const auto* letter = std::get_if<trimtab::daemon::DeadLetter>(&decoded)) {
      CHECK(!letter->message.empty(), "a dead letter without a reason");
    } else if (const auto* record = std::get_if<trimtab::daemon::InferenceRecord>(&decoded)) {
      CHECK(record->target == "bot" && !record->id.empty(), "a record without id or target");
    }
    for (const char* kind : {"inference", "feedback"}) {
      trimtab::fuzz::check_answer(codec.decode_body(text, kind, kNow, codecs.batch));
      codecs.batch.reset();
    }
    codecs.arena.reset();
  }
  return 0;
}
