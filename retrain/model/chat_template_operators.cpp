// Python's operators: arithmetic, concatenation, repetition, slices, membership.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "retrain/model/chat_template_filters.h"

namespace trimtab::model::jinja {
namespace {

std::int64_t checked(std::int64_t a, std::int64_t b, char op) {
  std::int64_t result = 0;
  const bool over = op == '+'   ? __builtin_add_overflow(a, b, &result)
                    : op == '-' ? __builtin_sub_overflow(a, b, &result)
                                : __builtin_mul_overflow(a, b, &result);
  if (over) throw JinjaError("a whole number grows beyond 64 bits");
  return result;
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == 0) throw JinjaError("integer division or modulo by zero");
  if (b == -1) return checked(0, a, '-');
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

Value power(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral() && b.integer() >= 0) {
    if (b.integer() > 64 && std::abs(a.integer()) > 1)
      throw JinjaError("a power grows beyond 64 bits");
    std::int64_t result = 1;
    const std::int64_t exponent =
        std::abs(a.integer()) > 1 ? b.integer() : b.integer() % 2 + 2 * (b.integer() > 0);
    for (std::int64_t i = 0; i < exponent; ++i) result = checked(result, a.integer(), '*');
    return result;
  }
  return std::pow(a.number(), b.number());
}

Value arithmetic(const std::string& op, const Value& a, const Value& b) {
  if (op == "**") return power(a, b);
  const bool whole = a.is_integral() && b.is_integral();
  if (op == "/") {
    if (b.number() == 0) throw JinjaError("division by zero");
    return a.number() / b.number();
  }
  if (op == "//") {
    if (whole) return floor_divide(a.integer(), b.integer());
    if (b.number() == 0) throw JinjaError("float floor division by zero");
    return std::floor(a.number() / b.number());
  }
  if (op == "%") {
    if (whole) return a.integer() - floor_divide(a.integer(), b.integer()) * b.integer();
    if (b.number() == 0) throw JinjaError("float modulo");
    return a.number() - std::floor(a.number() / b.number()) * b.number();
  }
  if (whole) return checked(a.integer(), b.integer(), op[0]);
  if (op == "+") return a.number() + b.number();
  if (op == "-") return a.number() - b.number();
  return a.number() * b.number();
}

Value repeat(const Value& sequence, std::int64_t times) {
  const bool empty = sequence.is_string() ? sequence.text().empty() : sequence.items().empty();
  times = empty ? 0 : std::max<std::int64_t>(times, 0);
  if (sequence.is_string()) {
    if (static_cast<double>(times) * static_cast<double>(sequence.text().size()) > kMaxTextBytes) {
      throw JinjaError("a text grows beyond 16 MiB");
    }
    std::string out;
    for (std::int64_t i = 0; i < times; ++i) out += sequence.text();
    return out;
  }
  if (static_cast<double>(times) * static_cast<double>(sequence.items().size()) > kMaxItems) {
    throw JinjaError("a list grows beyond a million items");
  }
  std::vector<Value> out;
  for (std::int64_t i = 0; i < times; ++i) {
    out.insert(out.end(), sequence.items().begin(), sequence.items().end());
  }
  return Value::list(std::move(out), sequence.is_tuple());
}

struct Bounds {
  std::int64_t start, stop, step;
};
// Python's slice.indices().
Bounds slice_bounds(const Value& start, const Value& stop, const Value& step, std::int64_t size) {
  const auto read = [](const Value& value, std::int64_t fallback) {
    if (value.is_none()) return fallback;
    value.require_defined();
    if (!value.is_integral()) {
      throw JinjaError("slice indices must be integers or None or have an __index__ method");
    }
    return value.integer();
  };
  Bounds bounds{0, 0, read(step, 1)};
  if (bounds.step == 0) throw JinjaError("slice step cannot be zero");
  const bool back = bounds.step < 0;
  const std::int64_t low = back ? -1 : 0, high = back ? size - 1 : size;
  const auto clamp = [&](std::int64_t at) {
    return at < 0 ? std::max(at + size, low) : std::min(at, high);
  };
  bounds.start = start.is_none() ? (back ? high : low) : clamp(read(start, 0));
  bounds.stop = stop.is_none() ? (back ? low : high) : clamp(read(stop, 0));
  return bounds;
}

}  // namespace

Value binary(const std::string& op, const Value& a, const Value& b) {
  if (op == "~") return a.str() + b.str();
  a.require_defined();
  if (op == "%" && a.is_string()) return percent_format(a.text(), b);
  b.require_defined();
  if (a.is_number() && b.is_number()) return arithmetic(op, a, b);
  if (op == "+") {
    if (a.is_string() && b.is_string()) return a.text() + b.text();
    if (a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple()) {
      std::vector<Value> out = a.items();
      out.insert(out.end(), b.items().begin(), b.items().end());
      return Value::list(std::move(out), a.is_tuple());
    }
    if (a.is_string() || (a.is_list() && !a.is_tuple()) || a.is_tuple()) {
      throw JinjaError(fmt::format("can only concatenate {0} (not \"{1}\") to {0}", a.python_type(),
                                   b.python_type()));
    }
  }
  if (op == "*") {
    if ((a.is_string() || a.is_list()) && b.is_integral()) return repeat(a, b.integer());
    if ((b.is_string() || b.is_list()) && a.is_integral()) return repeat(b, a.integer());
  }
  throw JinjaError(fmt::format("unsupported operand type(s) for {}{}: '{}' and '{}'", op,
                               op == "**" ? " or pow()" : "", a.python_type(), b.python_type()));
}

Value unary(bool negate, const Value& value) {
  value.require_defined();
  if (value.is_integral()) return checked(0, value.integer(), negate ? '-' : '+');
  if (value.is_float()) return negate ? -value.number() : value.number();
  throw JinjaError(
      fmt::format("bad operand type for unary {}: '{}'", negate ? '-' : '+', value.python_type()));
}

Value slice(const Value& subject, const Value& start, const Value& stop, const Value& step) {
  subject.require_defined();
  if (subject.is_dict()) throw JinjaError("unhashable type: 'slice'");
  if (!subject.is_list() && !subject.is_string()) {
    throw JinjaError("'" + subject.python_type() + "' object is not subscriptable");
  }
  const std::vector<Value> items = subject.iterate();
  const Bounds b = slice_bounds(start, stop, step, static_cast<std::int64_t>(items.size()));
  std::vector<Value> out;
  for (std::int64_t i = b.start; b.step > 0 ? i < b.stop : i > b.stop;) {
    out.push_back(items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, b.step, &i)) break;
  }
  if (subject.is_list()) return Value::list(std::move(out), subject.is_tuple());
  std::string text;
  for (const auto& c : out) text += c.text();
  return text;
}

Value missing(const Value& subject, const Value& key) {
  const std::string owner = subject.is_none() ? "None" : subject.python_type() + " object";
  if (!key.is_string()) return Value(Undefined{owner + " has no element " + key.repr()});
  return Value(Undefined{"'" + owner + "' has no attribute '" + key.text() + "'"});
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    item.require_defined();
    if (!item.is_string()) {
      throw JinjaError("'in <string>' requires string as left operand, not " + item.python_type());
    }
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_dict()) return item.is_string() && container.field(item.text()) != nullptr;
  if (!container.is_list() && !container.is_generator() && !container.is_undefined()) {
    throw JinjaError("argument of type '" + container.python_type() + "' is not iterable");
  }
  const auto items = container.iterate();
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& one) { return one.equals(item); });
}

}  // namespace trimtab::model::jinja
