// Over 400 lines because it is one class with a case for each kind of statement and expression.
#include "retrain/model/chat_template_interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

namespace trimtab::model::jinja {
namespace {

constexpr std::size_t kMaxSteps = 500'000;  // a real chat of 100 messages takes about 10,000
constexpr int kMaxDepth = 150;              // of evaluations inside evaluations, macros included

using Kind = Expr::Kind;

// The field under which a recursive loop keeps what a call of `loop` does; no template can name it.
constexpr const char* kCallField = "%call";

Value loop_value(const std::vector<Value>& items, std::size_t i, std::int64_t depth) {
  Value loop = Value::name_space();
  const auto n = static_cast<std::int64_t>(items.size()), at = static_cast<std::int64_t>(i);
  auto& f = loop.fields();
  f.emplace_back("index0", at);
  f.emplace_back("index", at + 1);
  f.emplace_back("revindex0", n - at - 1);
  f.emplace_back("revindex", n - at);
  f.emplace_back("first", at == 0);
  f.emplace_back("last", at + 1 == n);
  f.emplace_back("length", n);
  f.emplace_back("depth", depth + 1);
  f.emplace_back("depth0", depth);
  f.emplace_back("previtem", i > 0 ? items[i - 1] : Value(Undefined{"there is no previous item"}));
  f.emplace_back("nextitem",
                 i + 1 < items.size() ? items[i + 1] : Value(Undefined{"there is no next item"}));
  f.emplace_back("cycle", Function([i](Interpreter&, const Arguments& a) -> Value {
                   if (a.positional.empty()) throw JinjaError("no items for cycling given");
                   return a.positional[i % a.positional.size()];
                 }));
  return loop;
}

}  // namespace

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
    for (const auto& [key, value] : scope->names) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}
void Scope::set(const std::string& name, Value value) {
  for (auto& [key, old] : names) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

Interpreter::Interpreter() = default;
Interpreter::~Interpreter() {
  for (const auto& object : namespaces_) object.fields().clear();
  for (const auto& scope : kept_) scope->names.clear();
}

Value Interpreter::make_namespace() {
  Value value = Value::name_space();
  namespaces_.push_back(value);
  return value;
}

void Interpreter::step() {
  if (++steps_ > kMaxSteps) throw JinjaError("the template needs more than 500,000 steps");
}

void Interpreter::write(std::string& out, std::string_view text) {
  if (out.size() + text.size() > kMaxTextBytes)
    throw JinjaError("the rendered text grows beyond 16 MiB");
  out += text;
}

std::string Interpreter::render(const Body& body,
                                std::vector<std::pair<std::string, Value>> variables) {
  Scope globals;
  globals.names = std::move(variables);
  Scope top;  // the template's own names, over those it was given
  top.parent = &globals;
  std::string out;
  run(body, top, out);
  return out;
}

// ---- statements ----

Interpreter::Flow Interpreter::run(const Body& body, Scope& scope, std::string& out) {
  for (const auto& statement : body) {
    const Flow flow = run_one(*statement, scope, out);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_one(const Statement& statement, Scope& scope, std::string& out) {
  using S = Statement::Kind;
  step();
  switch (statement.kind) {
    case S::kText: write(out, statement.text); return Flow::kNormal;
    case S::kOutput: write(out, evaluate(*statement.expr, scope).str()); return Flow::kNormal;
    case S::kIf:
      return run(evaluate(*statement.expr, scope).truth() ? statement.body : statement.otherwise,
                 scope, out);
    case S::kFor: return run_for(statement, scope, out);
    case S::kSet:
      assign(*statement.target, evaluate(*statement.expr, scope), scope);
      return Flow::kNormal;
    case S::kSetBlock: run_set_block(statement, scope); return Flow::kNormal;
    case S::kMacro: scope.set(statement.text, make_macro(statement, scope)); return Flow::kNormal;
    case S::kCallBlock: {
      const Value callee = evaluate(*statement.expr->children[0], scope);
      Arguments arguments = evaluate_arguments(*statement.expr, scope);
      arguments.named.emplace_back("caller", make_macro(statement, scope));
      write(out, call(callee, arguments).str());
      return Flow::kNormal;
    }
    case S::kFilterBlock: {
      Scope inner;
      inner.parent = &scope;
      std::string text;
      const Flow flow = run(statement.body, inner, text);
      inner.set(kBlockName, std::move(text));
      write(out, evaluate(*statement.expr, inner).str());
      return flow;
    }
    case S::kScope: {
      Scope inner;
      inner.parent = &scope;
      return run(statement.body, inner, out);
    }
    case S::kBreak: return Flow::kBreak;
    case S::kContinue: return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_for(const Statement& statement, Scope& scope, std::string& out) {
  // `loop` may be kept beyond its loop, whose scope is then gone.
  auto alive = std::make_shared<bool>(true);
  struct End {
    std::shared_ptr<bool> alive;
    ~End() { *alive = false; }
  } const end{alive};
  const Level level{0, alive};
  return run_loop(statement, evaluate(*statement.expr, scope), scope, level, out);
}

// What `loop(items)` inside a recursive loop does: the whole loop again, one deeper, as a text.
Value Interpreter::loop_call(const Statement& statement, Scope& scope, const Level& level) {
  return Function([this, &statement, &scope, level](Interpreter&, const Arguments& a) -> Value {
    if (!*level.alive) throw JinjaError("the loop that is called has ended");
    if (a.positional.size() != 1) throw JinjaError("loop() takes what to go through");
    std::string text;
    run_loop(statement, a.positional[0], scope, {level.depth + 1, level.alive}, text);
    return text;
  });
}

Interpreter::Flow Interpreter::run_loop(const Statement& statement, const Value& iterable,
                                        Scope& scope, const Level& level, std::string& out) {
  std::vector<Value> items = iterable.iterate();
  if (statement.condition) {
    std::vector<Value> kept;
    for (auto& one : items) {
      Scope inner;
      inner.parent = &scope;
      assign(*statement.target, one, inner);
      if (evaluate(*statement.condition, inner).truth()) kept.push_back(std::move(one));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    Scope inner;
    inner.parent = &scope;
    return run(statement.otherwise, inner, out);
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    step();
    Scope inner;
    inner.parent = &scope;
    Value loop = loop_value(items, i, level.depth);
    if (statement.recursive) loop.set_field(kCallField, loop_call(statement, scope, level));
    inner.set("loop", std::move(loop));
    assign(*statement.target, items[i], inner);
    if (run(statement.body, inner, out) == Flow::kBreak) break;
  }
  return Flow::kNormal;
}

void Interpreter::run_set_block(const Statement& statement, Scope& scope) {
  Scope inner;
  inner.parent = &scope;
  std::string text;
  run(statement.body, inner, text);
  Value value = text;
  if (statement.expr) {
    inner.set(kBlockName, value);
    value = evaluate(*statement.expr, inner);
  }
  assign(*statement.target, value, scope);
}

void Interpreter::assign(const Expr& target, const Value& value, Scope& scope) {
  if (target.kind == Kind::kName) {
    scope.set(target.text, value);
  } else if (target.kind == Kind::kAttribute) {
    const Value object = evaluate(*target.children[0], scope);
    if (!object.is_namespace()) throw JinjaError("cannot assign attribute on non-namespace object");
    object.set_field(target.text, value);
  } else {
    value.require_defined();
    const std::vector<Value> parts = value.iterate();
    const std::size_t wanted = target.children.size();
    if (parts.size() < wanted) {
      throw JinjaError(
          fmt::format("not enough values to unpack (expected {}, got {})", wanted, parts.size()));
    }
    if (parts.size() > wanted) {
      throw JinjaError(fmt::format("too many values to unpack (expected {})", wanted));
    }
    for (std::size_t i = 0; i < wanted; ++i) assign(*target.children[i], parts[i], scope);
  }
}

// The macro looks into the scope where it stands; that scope's names are copied and kept, for the
// block it stands in may be left before the macro is called.
Value Interpreter::make_macro(const Statement& statement, Scope& scope) {
  Scope* home = &scope;
  if (scope.parent != nullptr && scope.parent->parent != nullptr) {
    if (kept_.size() > 10'000) throw JinjaError("more than 10,000 macros are made");
    kept_.push_back(std::make_unique<Scope>());
    home = kept_.back().get();
    for (const Scope* s = &scope; s != nullptr; s = s->parent) {
      for (const auto& [name, value] : s->names) {
        if (home->find(name) == nullptr) home->set(name, value);
      }
    }
  }
  const Statement* body = &statement;
  return Function([this, body, home](Interpreter&, const Arguments& arguments) -> Value {
    Arguments own = arguments;
    const Value* caller = own.find(own.positional.size(), "caller");
    const Value held = caller ? *caller : Value();
    std::erase_if(own.named, [](const auto& entry) { return entry.first == "caller"; });
    return run_macro(*body, *home, own, caller ? &held : nullptr);
  });
}

Value Interpreter::run_macro(const Statement& statement, Scope& scope, const Arguments& arguments,
                             const Value* caller) {
  Scope inner;
  inner.parent = &scope;
  const std::size_t count = statement.parameters.size();
  const std::string name = statement.text.empty() ? "caller" : statement.text;
  if (arguments.positional.size() > count && !statement.varargs) {
    throw JinjaError(fmt::format("macro '{}' takes not more than {} argument(s)", name, count));
  }
  Value others = Value::dict();
  for (const auto& [key, value] : arguments.named) {
    if (std::find(statement.parameters.begin(), statement.parameters.end(), key) !=
        statement.parameters.end()) {
      continue;
    }
    if (!statement.kwargs)
      throw JinjaError(fmt::format("macro '{}' takes no keyword argument '{}'", name, key));
    others.set_field(key, value);
  }
  if (statement.kwargs) inner.set("kwargs", others);
  if (statement.varargs) {
    const auto more = static_cast<std::ptrdiff_t>(std::min(count, arguments.positional.size()));
    inner.set("varargs", Value::list({arguments.positional.begin() + more,
                                      arguments.positional.end()}, true));
  }
  const std::size_t first_default = count - statement.defaults.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& parameter = statement.parameters[i];
    if (const Value* given = arguments.find(i, parameter))
      inner.set(parameter, *given);
    else if (i >= first_default)
      inner.set(parameter, evaluate(*statement.defaults[i - first_default], inner));
    else
      inner.set(parameter, Value(Undefined{"parameter '" + parameter + "' was not provided"}));
  }
  if (caller != nullptr) inner.set("caller", *caller);
  std::string out;
  run(statement.body, inner, out);
  return out;
}

// ---- expressions ----

Value Interpreter::evaluate(const Expr& expr, Scope& scope) {
  step();
  struct Depth {
    explicit Depth(int& d) : depth(d) {
      if (++depth > kMaxDepth) {
        --depth;
        throw JinjaError("evaluation goes more than 150 deep");
      }
    }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    ~Depth() { --depth; }
    int& depth;
  } const deeper(depth_);
  const auto child = [&](std::size_t i) { return evaluate(*expr.children[i], scope); };
  switch (expr.kind) {
    case Kind::kConst: return expr.value;
    case Kind::kName: {
      const Value* found = scope.find(expr.text);
      return found ? *found : Value(Undefined{"'" + expr.text + "' is undefined"});
    }
    case Kind::kList:
    case Kind::kTuple: return evaluate_list(expr, scope);
    case Kind::kDict: return evaluate_dict(expr, scope);
    case Kind::kAttribute: return attribute(child(0), expr.text);
    case Kind::kItem: return item(child(0), child(1));
    case Kind::kSlice: return evaluate_slice(expr, scope);
    case Kind::kCall: {
      const Value callee = child(0);
      return call(callee, evaluate_arguments(expr, scope));
    }
    case Kind::kFilter: {
      const Value subject = child(0);
      return apply_filter(expr.text, subject, evaluate_arguments(expr, scope));
    }
    case Kind::kTest: {
      const Value subject = child(0);
      return apply_test(expr.text, subject, evaluate_arguments(expr, scope));
    }
    case Kind::kNot: return !child(0).truth();
    case Kind::kNegate:
    case Kind::kPositive: return unary(expr.kind == Kind::kNegate, child(0));
    case Kind::kAnd: {
      Value left = child(0);
      return left.truth() ? child(1) : left;
    }
    case Kind::kOr: {
      Value left = child(0);
      return left.truth() ? left : child(1);
    }
    case Kind::kBinary: return evaluate_binary(expr, scope);
    case Kind::kCompare: return evaluate_compare(expr, scope);
    case Kind::kCondition: {
      if (child(1).truth()) return child(0);
      if (expr.children[2]) return child(2);
      return Value(Undefined{"the inline if-expression on line " + std::to_string(expr.line) +
                             " evaluated to false and no else section was defined."});
    }
  }
  return Value();
}

Value Interpreter::evaluate_list(const Expr& expr, Scope& scope) {
  std::vector<Value> items;
  for (const auto& one : expr.children) items.push_back(evaluate(*one, scope));
  return Value::list(std::move(items), expr.kind == Kind::kTuple);
}

Value Interpreter::evaluate_dict(const Expr& expr, Scope& scope) {
  Value dict = Value::dict();
  for (std::size_t i = 0; i + 1 < expr.children.size(); i += 2) {
    const Value key = evaluate(*expr.children[i], scope);
    if (!key.is_string()) {
      throw JinjaError("keys of an object that are no texts are not covered");
    }
    dict.set_field(key.text(), evaluate(*expr.children[i + 1], scope));
  }
  return dict;
}

Arguments Interpreter::evaluate_arguments(const Expr& expr, Scope& scope) {
  Arguments arguments;
  for (std::size_t i = 1; i < expr.children.size(); ++i) {
    arguments.positional.push_back(evaluate(*expr.children[i], scope));
  }
  for (std::size_t i = 0; i < expr.named.size(); ++i) {
    arguments.named.emplace_back(expr.names[i], evaluate(*expr.named[i], scope));
  }
  return arguments;
}

Value Interpreter::evaluate_slice(const Expr& expr, Scope& scope) {
  const Value subject = evaluate(*expr.children[0], scope);
  const auto part = [&](std::size_t i) {
    return expr.children[i] ? evaluate(*expr.children[i], scope) : Value(None{});
  };
  // Jinja folds constants beforehand, where what has no slices gives nothing instead of an error.
  const bool folded = expr.children[0]->kind == Kind::kConst && !subject.is_string();
  if (folded) return missing(subject, Value("slice"));
  const Value start = part(1), stop = part(2), step_by = part(3);
  return slice(subject, start, stop, step_by);
}

Value Interpreter::evaluate_binary(const Expr& expr, Scope& scope) {
  const Value left = evaluate(*expr.children[0], scope);
  const Value right = evaluate(*expr.children[1], scope);
  Value result = binary(expr.text, left, right);
  if (result.is_string() && result.text().size() > kMaxTextBytes) {
    throw JinjaError("a text grows beyond 16 MiB");
  }
  return result;
}

Value Interpreter::evaluate_compare(const Expr& expr, Scope& scope) {
  Value left = evaluate(*expr.children[0], scope);
  for (std::size_t i = 0; i < expr.names.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1], scope);
    const std::string& op = expr.names[i];
    bool holds = false;
    if (op == "==")
      holds = left.equals(right);
    else if (op == "!=")
      holds = !left.equals(right);
    else if (op == "in")
      holds = contains(right, left);
    else if (op == "not in")
      holds = !contains(right, left);
    else if (op == "<")
      holds = left.compare(right, "<") < 0;
    else if (op == "<=")
      holds = left.compare(right, "<=") <= 0;
    else if (op == ">")
      holds = left.compare(right, ">") > 0;
    else
      holds = left.compare(right, ">=") >= 0;
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  callee.require_defined();
  if (callee.is_namespace()) {
    if (const Value* inside = callee.field(kCallField)) return call(Value(*inside), arguments);
  }
  if (!callee.is_callable())
    throw JinjaError("'" + callee.python_type() + "' object is not callable");
  if (++depth_ > kMaxDepth) {
    --depth_;
    throw JinjaError("calls go more than 150 deep");
  }
  struct Leave {
    int& depth;
    ~Leave() { --depth; }
  } const leave{depth_};
  return callee.function()(*this, arguments);
}

Value Interpreter::attribute(const Value& subject, const std::string& name) {
  subject.require_defined();
  Value method = method_of(subject, name);
  if (!method.is_undefined()) return method;
  if (subject.is_object()) {
    if (const Value* found = subject.field(name)) return *found;
  }
  if (const Value* found = subject.named_item(name)) return *found;
  return missing(subject, name);
}

Value Interpreter::item(const Value& subject, const Value& key) {
  subject.require_defined();
  if (subject.is_object() && key.is_string()) {
    if (const Value* found = subject.field(key.text())) return *found;
  }
  if ((subject.is_list() || subject.is_string()) && key.is_integral()) {
    const std::vector<Value> chars = subject.is_string() ? subject.iterate() : std::vector<Value>();
    const auto& items = subject.is_string() ? chars : subject.items();
    const auto size = static_cast<std::int64_t>(items.size());
    const std::int64_t at = key.integer() < 0 ? key.integer() + size : key.integer();
    if (at >= 0 && at < size) return items[static_cast<std::size_t>(at)];
  }
  if (key.is_string()) {
    Value method = method_of(subject, key.text());
    if (!method.is_undefined()) return method;
  }
  return missing(subject, key);
}

}  // namespace trimtab::model::jinja
