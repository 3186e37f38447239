#include "retrain/model/chat_template.h"

#include <ctime>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "retrain/model/chat_template_interpreter.h"

namespace trimtab::model {

struct ChatTemplate::Program {
  jinja::Body body;
  std::vector<std::pair<std::string, std::string>> tokens;  // bos_token, eos_token, .. by name
};

namespace {

using jinja::Arguments;
using jinja::Function;
using jinja::Interpreter;
using jinja::JinjaError;
using jinja::Value;
using Variables = std::vector<std::pair<std::string, Value>>;

constexpr std::int64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE

Value raise_exception(Interpreter&, const Arguments& a) {
  throw JinjaError(a.positional.empty() ? "" : a.positional[0].str());
}

// transformers: datetime.now().strftime(format), in local time.
Value strftime_now(Interpreter&, const Arguments& a) {
  if (a.positional.size() != 1 || !a.positional[0].is_string()) {
    throw JinjaError("strftime_now() takes a format");
  }
  const std::time_t now = SystemClock().now_ms() / 1000;
  std::tm local{};
  localtime_r(&now, &local);
  char text[512];
  const std::size_t length =
      std::strftime(text, sizeof(text), a.positional[0].text().c_str(), &local);
  return std::string(text, length);
}

Value name_space(Interpreter& run, const Arguments& a) {
  Value value = run.make_namespace();
  for (const auto& from : a.positional) {
    if (!from.is_dict()) throw JinjaError("namespace() takes objects and named values");
    for (const auto& [key, field] : from.fields()) value.set_field(key, field);
  }
  for (const auto& [key, field] : a.named) value.set_field(key, field);
  return value;
}

Value make_dict(Interpreter&, const Arguments& a) {
  Value value = Value::dict();
  for (const auto& from : a.positional) {
    if (!from.is_dict()) throw JinjaError("dict() takes objects and named values");
    for (const auto& [key, field] : from.fields()) value.set_field(key, field);
  }
  for (const auto& [key, field] : a.named) value.set_field(key, field);
  return value;
}

Value range(Interpreter&, const Arguments& a) {
  const auto at = [&](std::size_t i) {
    if (!a.positional[i].is_integral()) {
      throw JinjaError("'" + a.positional[i].python_type() +
                       "' object cannot be interpreted as an integer");
    }
    return a.positional[i].integer();
  };
  if (a.positional.empty() || a.positional.size() > 3)
    throw JinjaError("range() takes 1 to 3 numbers");
  const std::int64_t start = a.positional.size() > 1 ? at(0) : 0;
  const std::int64_t stop = a.positional.size() > 1 ? at(1) : at(0);
  const std::int64_t step = a.positional.size() > 2 ? at(2) : 1;
  if (step == 0) throw JinjaError("range() arg 3 must not be zero");
  std::vector<Value> out;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(out.size()) >= kMaxRange) {
      throw JinjaError("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    }
    out.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::list(std::move(out));
}

// Jinja's cycler: next() gives one after the other, `current` the one that comes next.
Value cycler(Interpreter& run, const Arguments& a) {
  if (a.positional.empty()) throw JinjaError("at least one item has to be provided");
  Value object = run.make_namespace();
  auto at = std::make_shared<std::size_t>(0);
  const std::vector<Value> items = a.positional;
  const auto go = [object, at, items](std::size_t to) {
    *at = to % items.size();
    Value(object).set_field("current", items[*at]);
  };
  object.set_field("current", items[0]);
  object.set_field("next", Function([=](Interpreter&, const Arguments&) -> Value {
                     const Value now = items[*at];
                     go(*at + 1);
                     return now;
                   }));
  object.set_field("reset", Function([=](Interpreter&, const Arguments&) -> Value {
                     go(0);
                     return jinja::None{};
                   }));
  return object;
}

// Jinja's joiner: nothing at the first call, the separator at every other.
Value joiner(Interpreter&, const Arguments& a) {
  const Value* given = a.find(0, "sep");
  const Value separator = given ? *given : Value(", ");
  auto used = std::make_shared<bool>(false);
  return Function([used, separator](Interpreter&, const Arguments&) -> Value {
    return std::exchange(*used, true) ? separator : Value("");
  });
}

Variables globals() {
  Variables all;
  all.emplace_back("raise_exception", Function(raise_exception));
  all.emplace_back("strftime_now", Function(strftime_now));
  all.emplace_back("namespace", Function(name_space));
  all.emplace_back("dict", Function(make_dict));
  all.emplace_back("cycler", Function(cycler));
  all.emplace_back("joiner", Function(joiner));
  all.emplace_back("range", Function(range));
  return all;
}

void put(Variables& variables, const std::string& name, Value value) {
  for (auto& [key, old] : variables) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

using Tokens = std::vector<std::pair<std::string, std::string>>;

Tokens special_tokens(const Json& config) {
  Tokens tokens;
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    const Json value = config.is_object() ? config.value(name, Json()) : Json();
    std::string text = value.is_string() ? value.get<std::string>() : "";
    if (value.is_object()) text = json_or<std::string>(value, "content", "");
    if (!text.empty()) tokens.emplace_back(name, std::move(text));
  }
  return tokens;
}

// A text, or a list of {"name", "template"} of which "default" is taken. Empty: none.
Result<std::string> template_of(const Json& config) {
  const Json value = config.is_object() ? config.value("chat_template", Json()) : Json();
  if (value.is_null()) return std::string();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    for (const auto& entry : value) {
      if (entry.is_object() && json_or<std::string>(entry, "name", "") == "default") {
        return json_get<std::string>(entry, "template");
      }
    }
  }
  return fail(Code::kInvalid, "'chat_template' is neither a text nor a list with a 'default'");
}

Result<jinja::Body> parse_body(std::string_view source) {
  try {
    return jinja::parse_template(source);
  } catch (const JinjaError& error) {
    return fail(Code::kInvalid, std::string("chat template: ") + error.what());
  }
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, std::string bos_token,
                                         std::string eos_token) {
  auto program = std::make_shared<Program>();
  TRIMTAB_TRY(program->body, parse_body(source));
  if (!bos_token.empty()) program->tokens.emplace_back("bos_token", std::move(bos_token));
  if (!eos_token.empty()) program->tokens.emplace_back("eos_token", std::move(eos_token));
  return ChatTemplate(std::move(program));
}

Result<ChatTemplate> ChatTemplate::load(const std::filesystem::path& folder) {
  constexpr std::uint64_t kMaxBytes = 64ULL << 20;
  const auto path = folder / "tokenizer_config.json";
  auto text = read_file(path, kMaxBytes);
  Json config;
  if (text) {
    auto json = parse_json(*text);
    if (!json || !json->is_object()) {
      return fail(Code::kInvalid,
                  path.string() + ": " + (json ? "no JSON object" : json.error().message));
    }
    config = std::move(*json);
  } else if (text.error().code != Code::kNotFound) {
    return tl::unexpected<Error>(text.error());
  }
  auto source = read_file(folder / "chat_template.jinja", kMaxBytes);
  auto where = folder / "chat_template.jinja";
  if (!source) {
    if (source.error().code != Code::kNotFound) return tl::unexpected<Error>(source.error());
    where = path;
    source = template_of(config);
    if (!source) return fail_in(path.string(), source.error());
    if (source->empty()) {
      return fail(Code::kNotFound, folder.string() +
                                       ": no chat template (neither chat_template.jinja "
                                       "nor 'chat_template' in tokenizer_config.json)");
    }
  }
  auto body = parse_body(*source);
  if (!body) return fail_in(where.string(), body.error());
  auto program = std::make_shared<Program>();
  program->body = std::move(*body);
  program->tokens = special_tokens(config);
  return ChatTemplate(std::move(program));
}

Result<std::string> ChatTemplate::render(const OrderedJson& messages,
                                         const OrderedJson& variables) const {
  if (!messages.is_array()) return fail(Code::kInvalid, "messages are no JSON list");
  try {
    Variables all = globals();
    for (const auto& [name, token] : program_->tokens) put(all, name, token);
    // transformers passes these two always; a caller may override them.
    put(all, "tools", jinja::None{});
    put(all, "documents", jinja::None{});
    put(all, "add_generation_prompt", false);
    put(all, "messages", Value::from_json(messages));
    if (variables.is_object()) {
      for (auto it = variables.begin(); it != variables.end(); ++it)
        put(all, it.key(), Value::from_json(*it));
    }
    return Interpreter().render(program_->body, std::move(all));
  } catch (const JinjaError& error) {
    return fail(Code::kInvalid, error.what());
  }
}

Result<std::string> ChatTemplate::render(const OrderedJson& messages,
                                         bool add_generation_prompt) const {
  return render(messages, OrderedJson{{"add_generation_prompt", add_generation_prompt}});
}

}  // namespace trimtab::model
