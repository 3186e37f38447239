#include <functional>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_regex.h"
#include "retrain/model/tokenizer_sequence.h"
#include "retrain/model/tokenizer_stages.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

tl::unexpected<Error> not_covered(std::string_view stage, const std::string& type) {
  return fail(Code::kInvalid, std::string(stage) + " '" + type + "' is not covered");
}

using Step = std::function<Status(std::string&)>;

class StepNormalizer final : public Normalizer {
 public:
  explicit StepNormalizer(Step step) : step_(std::move(step)) {}
  Status apply(std::string& text) const override { return step_(text); }

 private:
  Step step_;
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<Normalizer>> parts)
      : parts_(std::move(parts)) {}
  Status apply(std::string& text) const override {
    for (const auto& part : parts_) TRIMTAB_CHECK_OK(part->apply(text));
    return {};
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

void strip(std::string& text, bool left, bool right) {
  std::size_t begin = 0, end = 0, at = 0;
  bool seen = false;
  while (at < text.size()) {
    const std::size_t start = at;
    if (is_white_space(next_code_point(text, at))) continue;
    if (!seen) begin = start;
    seen = true;
    end = at;
  }
  if (!seen) begin = end = text.size();
  if (!left) begin = 0;
  if (!right) end = text.size();
  text = text.substr(begin, end > begin ? end - begin : 0);
}

Result<Step> make_step(const std::string& type, const Json& json) {
  const auto form = [](NormalForm f) {
    return Step([f](std::string& text) -> Status {
      text = normalize(text, f);
      return {};
    });
  };
  if (type == "NFC") return form(NormalForm::kNfc);
  if (type == "NFD") return form(NormalForm::kNfd);
  if (type == "NFKC") return form(NormalForm::kNfkc);
  if (type == "NFKD") return form(NormalForm::kNfkd);
  if (type == "Lowercase") {
    return Step([](std::string& text) -> Status {
      text = lowercase(text);
      return {};
    });
  }
  if (type == "Prepend") {
    TRIMTAB_TRY(std::string prepend, json_get<std::string>(json, "prepend"));
    return Step([prepend](std::string& text) -> Status {
      if (!text.empty()) text.insert(0, prepend);
      return {};
    });
  }
  if (type == "Replace") {
    TRIMTAB_TRY(std::string content, json_get<std::string>(json, "content"));
    TRIMTAB_TRY(TokenRegex pattern, read_token_pattern(json.value("pattern", Json())));
    return Step([pattern, content](std::string& text) -> Status {
      return replace_matches(pattern, content, text);
    });
  }
  if (type == "Strip") {
    const bool left = json_or(json, "strip_left", true), right = json_or(json, "strip_right", true);
    return Step([left, right](std::string& text) -> Status {
      strip(text, left, right);
      return {};
    });
  }
  return not_covered("normalizer", type);
}

}  // namespace

Result<std::unique_ptr<Normalizer>> make_normalizer(const Json& json, int depth) {
  if (json.is_null()) return std::unique_ptr<Normalizer>();
  TRIMTAB_TRY(const std::string type, json_get<std::string>(json, "type"));
  if (type == "Sequence") {
    TRIMTAB_TRY(auto parts, make_parts<Normalizer>(json, "normalizers", depth, make_normalizer));
    return std::make_unique<NormalizerSequence>(std::move(parts));
  }
  TRIMTAB_TRY(Step step, make_step(type, json));
  return std::make_unique<StepNormalizer>(std::move(step));
}

}  // namespace trimtab::model
