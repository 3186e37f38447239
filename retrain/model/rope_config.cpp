#include "retrain/model/rope_config.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace trimtab::model {
namespace {

std::vector<double> numbers(ConfigReader& reader, const Json& object, const char* key) {
  if (!object.contains(key) || !object[key].is_array()) {
    reader.complain(key, "must be a list of numbers");
    return {};
  }
  std::vector<double> values;
  for (const Json& item : object[key]) {
    if (!item.is_number() || !(item.get<double>() > 0)) {
      reader.complain(key, "must hold positive numbers");
      return {};
    }
    values.push_back(item.get<double>());
  }
  return values;
}

std::optional<RopeKind> rope_kind(const std::string& name) {
  static const std::map<std::string, RopeKind> kKinds = {
      {"default", RopeKind::kDefault},   {"linear", RopeKind::kLinear},
      {"dynamic", RopeKind::kDynamic},   {"yarn", RopeKind::kYarn},
      {"longrope", RopeKind::kLongRope}, {"su", RopeKind::kLongRope},
      {"llama3", RopeKind::kLlama3}};
  const auto it = kKinds.find(name);
  if (it == kKinds.end()) return std::nullopt;
  return it->second;
}

double json_number(const Json& object, const char* key, double fallback) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : fallback;
}

// transformers' _compute_yarn_parameters: mscale, or 0.1 ln f + 1.
double yarn_attention_factor(const Json& p, double factor) {
  const auto scale = [&](double mscale) {
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
  };
  const double mscale = json_number(p, "mscale", 0);
  const double all_dim = json_number(p, "mscale_all_dim", 0);
  const double fallback = mscale != 0 && all_dim != 0 ? scale(mscale) / scale(all_dim) : scale(1.0);
  return json_number(p, "attention_factor", fallback);
}

void read_scaling(ConfigReader& reader, const Json& p, bool factor_given, RopeConfig& rope) {
  rope.low_freq_factor = json_number(p, "low_freq_factor", 1.0);
  rope.high_freq_factor = json_number(p, "high_freq_factor", 4.0);
  rope.beta_fast = json_number(p, "beta_fast", 32.0);
  rope.beta_slow = json_number(p, "beta_slow", 1.0);
  rope.yarn_truncate = !p.contains("truncate") || p["truncate"] != Json(false);
  const double ratio = static_cast<double>(rope.max_positions) /
                       static_cast<double>(std::max<std::int64_t>(1, rope.original_max_positions));
  switch (rope.kind) {
    case RopeKind::kYarn:
      if (!factor_given) rope.factor = ratio;
      rope.attention_factor = yarn_attention_factor(p, rope.factor);
      break;
    case RopeKind::kLongRope: {
      if (!factor_given) rope.factor = ratio;
      rope.short_factor = numbers(reader, p, "short_factor");
      rope.long_factor = numbers(reader, p, "long_factor");
      const double fallback =
          rope.factor <= 1.0
              ? 1.0
              : std::sqrt(1.0 + std::log(rope.factor) /
                                    std::log(static_cast<double>(rope.original_max_positions)));
      rope.attention_factor = json_number(p, "attention_factor", fallback);
      const auto half = static_cast<std::size_t>(rope.rotary_dim / 2);
      if (rope.short_factor.size() != half || rope.long_factor.size() != half) {
        reader.complain("long_factor", "and short_factor must have rotary_dim / 2 values");
      }
      break;
    }
    case RopeKind::kLinear:
    case RopeKind::kDynamic:
    case RopeKind::kLlama3:
      if (!factor_given) reader.complain("factor", "of the rope scaling is missing");
      break;
    case RopeKind::kNone:
    case RopeKind::kDefault: break;
  }
}

}  // namespace

void read_rope(ConfigReader& reader, std::int64_t head_dim, double default_theta,
               ModelConfig& config) {
  static const std::set<std::string> kKeys = {"rope_type",
                                              "type",
                                              "rope_theta",
                                              "factor",
                                              "low_freq_factor",
                                              "high_freq_factor",
                                              "original_max_position_embeddings",
                                              "attention_factor",
                                              "beta_fast",
                                              "beta_slow",
                                              "truncate",
                                              "mscale",
                                              "mscale_all_dim",
                                              "short_factor",
                                              "long_factor",
                                              "partial_rotary_factor"};
  RopeConfig& rope = config.rope;
  rope.theta = reader.number("rope_theta", default_theta);
  double partial = reader.number("partial_rotary_factor", 1.0);
  rope.max_positions = config.max_positions;
  rope.original_max_positions =
      reader.count("original_max_position_embeddings", config.max_positions);
  const Json* newer = reader.object("rope_parameters");
  const Json* older = reader.object("rope_scaling");
  const Json none = Json::object();
  const Json& p = newer != nullptr ? *newer : (older != nullptr ? *older : none);
  for (const auto& [key, value] : p.items()) {
    if (!value.is_null() && kKeys.count(key) == 0) {
      reader.complain(key, "in the rope parameters is not understood and may change the maths");
    }
  }
  const Json* type =
      p.contains("rope_type") ? &p["rope_type"] : (p.contains("type") ? &p["type"] : nullptr);
  const std::string name =
      type != nullptr && type->is_string() ? type->get<std::string>() : "default";
  const auto kind = rope_kind(name);
  if (!kind) reader.complain("rope_type", "= '" + name + "' is not supported");
  rope.kind = kind.value_or(RopeKind::kDefault);
  rope.theta = json_number(p, "rope_theta", rope.theta);
  partial = json_number(p, "partial_rotary_factor", partial);
  rope.original_max_positions = static_cast<std::int64_t>(json_number(
      p, "original_max_position_embeddings", static_cast<double>(rope.original_max_positions)));
  if (config.family != "phi3" && partial != 1.0) {
    // transformers reads the factor in phi3 alone; with a scaling the others cannot run it.
    if (rope.kind != RopeKind::kDefault) {
      reader.complain("partial_rotary_factor", "is not part of a " + config.family);
    }
    partial = 1.0;
  }
  rope.rotary_dim = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial);
  const bool factor_given = p.contains("factor") && p["factor"].is_number();
  rope.factor = json_number(p, "factor", 1.0);
  if (!(rope.theta > 0) || !(rope.factor > 0) || rope.rotary_dim <= 0 || rope.rotary_dim % 2 != 0 ||
      rope.rotary_dim > head_dim || rope.original_max_positions <= 0) {
    reader.complain("rope_parameters", "is out of range");
  }
  read_scaling(reader, p, factor_given, rope);
}

std::vector<float> rope_inverse_frequencies(const RopeConfig& rope, std::int64_t length) {
  constexpr double kTwoPi = 6.283185307179586;
  const auto d = static_cast<double>(rope.rotary_dim);
  double theta = rope.theta;
  if (rope.kind == RopeKind::kDynamic) {  // NTK-aware: the base grows with the document
    const double longest = static_cast<double>(std::max(length, rope.max_positions));
    theta *= std::pow(
        rope.factor * longest / static_cast<double>(rope.max_positions) - (rope.factor - 1.0),
        d / (d - 2.0));
  }
  const auto correction = [&](double rotations) {  // yarn: the dimension that turns so often
    return d * std::log(static_cast<double>(rope.original_max_positions) / (rotations * kTwoPi)) /
           (2.0 * std::log(theta));
  };
  double low = correction(rope.beta_fast);
  double high = correction(rope.beta_slow);
  if (rope.yarn_truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, d - 1.0);
  if (low == high) high += 0.001;
  std::vector<float> result(static_cast<std::size_t>(rope.rotary_dim / 2));
  for (std::size_t i = 0; i < result.size(); ++i) {
    double inverse = std::pow(theta, -2.0 * static_cast<double>(i) / d);
    switch (rope.kind) {
      case RopeKind::kLinear: inverse /= rope.factor; break;
      case RopeKind::kLlama3: {
        const auto original = static_cast<double>(rope.original_max_positions);
        const double wave = kTwoPi / inverse;
        const double smooth = (original / wave - rope.low_freq_factor) /
                              (rope.high_freq_factor - rope.low_freq_factor);
        if (wave > original / rope.low_freq_factor)
          inverse /= rope.factor;
        else if (wave >= original / rope.high_freq_factor)
          inverse = (1.0 - smooth) * inverse / rope.factor + smooth * inverse;
        break;
      }
      case RopeKind::kYarn: {
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        inverse = inverse / rope.factor * ramp + inverse * (1.0 - ramp);
        break;
      }
      case RopeKind::kLongRope:
        inverse /=
            length > rope.original_max_positions ? rope.long_factor[i] : rope.short_factor[i];
        break;
      case RopeKind::kNone:
      case RopeKind::kDefault:
      case RopeKind::kDynamic: break;
    }
    result[i] = static_cast<float>(inverse);
  }
  return result;
}

}  // namespace trimtab::model
