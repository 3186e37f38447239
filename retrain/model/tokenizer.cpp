#include "retrain/model/tokenizer.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/tokenizer_added.h"
#include "retrain/model/tokenizer_bpe.h"
#include "retrain/model/tokenizer_decoders.h"
#include "retrain/model/tokenizer_stages.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {

struct Tokenizer::Tables {
  BpeModel model;
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  AddedTokens added;
  std::unique_ptr<Decoder> decoder;
  bool byte_level_decoder = false;  // the whole decoder is ByteLevel: bytes can be streamed
  TokenIds before;                  // the post-processor's template around the text
  TokenIds after;
};

namespace {

constexpr std::uint64_t kMaxFileBytes = 256ULL << 20;
constexpr std::size_t kMaxTemplate = 64;

struct Template {
  TokenIds before;
  TokenIds after;
  bool any = false;
};

Result<TokenIds> template_ids(const Json& specials, const std::string& name) {
  const auto entry = specials.is_object() ? specials.find(name) : specials.end();
  if (!specials.is_object() || entry == specials.end()) {
    return fail(Code::kInvalid, "post-processor names '" + name + "' without giving its ids");
  }
  return json_get<TokenIds>(*entry, "ids");
}

Status read_template(const Json& json, Template& out) {
  const auto single = json.find("single");
  if (single == json.end() || !single->is_array() || single->size() > kMaxTemplate) {
    return fail(Code::kInvalid, "TemplateProcessing without a list 'single' of at most 64");
  }
  bool seen_text = false;
  for (const auto& part : *single) {
    if (part.is_object() && part.contains("Sequence")) {
      if (seen_text) return fail(Code::kInvalid, "TemplateProcessing repeats the text");
      seen_text = true;
      continue;
    }
    if (!part.is_object() || !part.contains("SpecialToken")) {
      return fail(Code::kInvalid, "TemplateProcessing has an unknown part");
    }
    TRIMTAB_TRY(const std::string name, json_get<std::string>(part["SpecialToken"], "id"));
    TRIMTAB_TRY(const TokenIds ids, template_ids(json.value("special_tokens", Json()), name));
    auto& side = seen_text ? out.after : out.before;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (!seen_text) return fail(Code::kInvalid, "TemplateProcessing without the text");
  out.any = true;
  return {};
}

// BERT's and RoBERTa's: [cls] text [sep].
Status read_pair(const Json& json, Template& out) {
  for (const char* key : {"cls", "sep"}) {
    const Json pair = json.value(key, Json());
    if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_unsigned()) {
      return fail(Code::kInvalid, std::string("post-processor without ['") + key + "', id]");
    }
    (key[0] == 'c' ? out.before : out.after).push_back(pair[1].get<TokenId>());
  }
  out.any = true;
  return {};
}

Status read_post_processor(const Json& json, Template& out, int depth = 0) {
  if (json.is_null()) return {};
  TRIMTAB_TRY(const std::string type, json_get<std::string>(json, "type"));
  if (type == "ByteLevel") return {};  // offsets only
  if (type == "Sequence") {
    const auto list = json.find("processors");
    if (depth > 8 || list == json.end() || !list->is_array() || list->size() > kMaxTemplate) {
      return fail(Code::kInvalid, "post-processor Sequence nested too deeply or without a list");
    }
    for (const auto& item : *list) TRIMTAB_CHECK_OK(read_post_processor(item, out, depth + 1));
    return {};
  }
  if (out.any) return fail(Code::kInvalid, "two post-processors add tokens; one is covered");
  if (type == "TemplateProcessing") return read_template(json, out);
  if (type == "RobertaProcessing" || type == "BertProcessing") return read_pair(json, out);
  return fail(Code::kInvalid, "post-processor '" + type + "' is not covered");
}

}  // namespace

Result<Tokenizer> Tokenizer::parse(std::string_view text) {
  TRIMTAB_TRY(const Json json, parse_json(text));
  if (!json.is_object()) return fail(Code::kInvalid, "not a tokenizer: no JSON object");
  const auto part = [&](const char* key) { return json.value(key, Json()); };
  if (!json.contains("model")) return fail(Code::kInvalid, "missing key 'model'");
  auto tables = std::make_shared<Tables>();
  TRIMTAB_TRY(tables->model, BpeModel::parse(json["model"]));
  TRIMTAB_TRY(tables->normalizer, make_normalizer(part("normalizer")));
  TRIMTAB_TRY(tables->pre_tokenizer, make_pre_tokenizer(part("pre_tokenizer")));
  TRIMTAB_TRY(tables->added,
              AddedTokens::parse(part("added_tokens"), tables->model, tables->normalizer.get()));
  TRIMTAB_TRY(tables->decoder, make_decoder(part("decoder")));
  tables->byte_level_decoder =
      tables->decoder != nullptr && part("decoder").value("type", "") == "ByteLevel";
  Template around;
  TRIMTAB_CHECK_OK(read_post_processor(part("post_processor"), around));
  tables->before = std::move(around.before);
  tables->after = std::move(around.after);
  return Tokenizer(std::move(tables));
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "tokenizer.json" : path;
  TRIMTAB_TRY(const std::string text, read_file(file, kMaxFileBytes));
  auto tokenizer = parse(text);
  if (!tokenizer) return fail_in(file.string(), tokenizer.error());
  return tokenizer;
}

Result<TokenIds> Tokenizer::encode(std::string_view text, bool add_special) const {
  Pieces pieces;
  pieces.push_back({valid_utf8(text) ? std::string(text) : lossy_utf8(text), true, std::nullopt});
  if (pieces[0].text.empty()) pieces.clear();
  TRIMTAB_CHECK_OK(tables_->added.apply(pieces, tables_->normalizer.get()));
  if (tables_->pre_tokenizer) TRIMTAB_CHECK_OK(tables_->pre_tokenizer->apply(pieces));
  TokenIds ids;
  if (add_special) ids = tables_->before;
  for (const auto& piece : pieces) {
    if (piece.id)
      ids.push_back(*piece.id);
    else
      tables_->model.encode(piece.text, ids);
  }
  if (add_special) ids.insert(ids.end(), tables_->after.begin(), tables_->after.end());
  return ids;
}

std::optional<std::string> Tokenizer::token_text(TokenId id) const {
  if (const AddedToken* added = tables_->added.find(id)) return added->shown;
  if (const std::string* token = tables_->model.token(id)) return *token;
  return std::nullopt;
}

bool Tokenizer::is_special(TokenId id) const {
  const auto text = token_text(id);
  return text && tables_->added.is_special(*text);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    auto text = token_text(id);
    if (text && !(skip_special && tables_->added.is_special(*text))) {
      tokens.push_back(std::move(*text));
    }
  }
  if (tables_->decoder) {
    tables_->decoder->apply(tokens);
  }
  std::string all;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && !tables_->decoder) all += ' ';
    all += tokens[i];
  }
  return all;
}

std::optional<TokenId> Tokenizer::token_id(std::string_view content) const {
  if (const AddedToken* added = tables_->added.find(content)) return added->id;
  return tables_->model.id(content);
}

TokenId Tokenizer::vocab_size() const {
  return std::max(tables_->model.id_limit(), tables_->added.id_limit());
}

const TokenIds& Tokenizer::template_prefix() const { return tables_->before; }

// ---- streaming ----

std::string StreamDecoder::push(TokenId id) {
  const auto text = tokenizer_.token_text(id);
  if (!text || (skip_special_ && tokenizer_.is_special(id))) return {};
  if (tokenizer_.tables_->byte_level_decoder) {
    append_token_bytes(*text, held_bytes_);
    const std::size_t tail = incomplete_tail(held_bytes_);
    std::string ready =
        lossy_utf8(std::string_view(held_bytes_).substr(0, held_bytes_.size() - tail));
    held_bytes_.erase(0, held_bytes_.size() - tail);
    return ready;
  }
  held_.push_back(id);
  // A run of byte tokens is judged as a whole, so nothing is certain before it ends.
  return byte_of_token(*text) >= 0 ? std::string() : emit();
}

std::string StreamDecoder::emit() {
  constexpr std::size_t kWindow =
      4;  // tokens of context, enough for what decoders strip at a start
  const std::string before = tokenizer_.decode(window_, skip_special_);
  window_.insert(window_.end(), held_.begin(), held_.end());
  held_.clear();
  const std::string all = tokenizer_.decode(window_, skip_special_);
  if (window_.size() > kWindow) {
    window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(kWindow));
  }
  return all.substr(std::min(before.size(), all.size()));
}

std::string StreamDecoder::finish() {
  if (tokenizer_.tables_->byte_level_decoder) return lossy_utf8(std::exchange(held_bytes_, {}));
  return held_.empty() ? std::string() : emit();
}

// ---- special tokens of a snapshot ----

namespace {

Result<Json> optional_json(const std::filesystem::path& path) {
  auto text = read_file(path, 64ULL << 20);
  if (!text && text.error().code == Code::kNotFound) return Json();
  if (!text) return tl::unexpected<Error>(text.error());
  auto json = parse_json(*text);
  if (!json) return fail_in(path.string(), json.error());
  if (!json->is_object()) return fail(Code::kInvalid, path.string() + ": no JSON object");
  return json;
}

// A special token is written as a text or as an AddedToken object.
std::string token_text_of(const Json& config, const char* key) {
  const Json value = config.is_object() ? config.value(key, Json()) : Json();
  if (value.is_string()) return value.get<std::string>();
  return value.is_object() ? json_or<std::string>(value, "content", "") : std::string();
}

Status add_ids(const Json& config, const char* key, const std::string& file,
               std::set<TokenId>& ids) {
  const Json value = config.is_object() ? config.value(key, Json()) : Json();
  if (value.is_null()) return {};
  const Json list = value.is_array() ? value : Json::array({value});
  for (const auto& item : list) {
    if (!item.is_number_integer()) {
      return fail(Code::kInvalid, file + ": '" + key + "' is neither an id nor a list of ids");
    }
    ids.insert(item.get<TokenId>());
  }
  return {};
}

}  // namespace

Result<SpecialTokens> load_special_tokens(const std::filesystem::path& folder,
                                          const Tokenizer& tokenizer) {
  TRIMTAB_TRY(const Json own, optional_json(folder / "tokenizer_config.json"));
  TRIMTAB_TRY(const Json generation, optional_json(folder / "generation_config.json"));
  TRIMTAB_TRY(const Json config, optional_json(folder / "config.json"));
  SpecialTokens special;
  special.bos = token_text_of(own, "bos_token");
  special.eos = token_text_of(own, "eos_token");
  special.pad = token_text_of(own, "pad_token");
  special.unk = token_text_of(own, "unk_token");
  if (!special.bos.empty()) special.bos_id = tokenizer.token_id(special.bos);
  if (!special.eos.empty()) special.eos_id = tokenizer.token_id(special.eos);
  std::set<TokenId> stops;
  TRIMTAB_CHECK_OK(add_ids(generation, "eos_token_id", "generation_config.json", stops));
  TRIMTAB_CHECK_OK(add_ids(config, "eos_token_id", "config.json", stops));
  if (!special.eos_id && !stops.empty()) special.eos_id = *stops.begin();
  if (special.eos_id) stops.insert(*special.eos_id);
  special.stop_ids.assign(stops.begin(), stops.end());
  return special;
}

}  // namespace trimtab::model
