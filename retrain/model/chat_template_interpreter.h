// Runs a parsed chat template. One Interpreter a rendering; every loop and text is bounded.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retrain/model/chat_template_ast.h"
#include "retrain/model/chat_template_value.h"

namespace trimtab::model::jinja {

// Names of one block; a look-up goes on to the parent.
struct Scope {
  std::vector<std::pair<std::string, Value>> names;
  Scope* parent = nullptr;

  [[nodiscard]] const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

class Interpreter {
 public:
  Interpreter();
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws JinjaError. `variables` are the template's global names.
  std::string render(const Body& body, std::vector<std::pair<std::string, Value>> variables);

  // For filters and functions.
  Value call(const Value& callee, const Arguments& arguments);
  Value attribute(const Value& subject, const std::string& name);  // subject.name
  Value item(const Value& subject, const Value& key);              // subject[key]
  Value apply_filter(const std::string& name, const Value& subject, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& subject, const Arguments& arguments);
  // A namespace made by the template; kept to break reference cycles at the end.
  Value make_namespace();
  void step();  // counts towards the bound on work

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  Flow run(const Body& body, Scope& scope, std::string& out);
  Flow run_one(const Statement& statement, Scope& scope, std::string& out);
  struct Level {  // of a recursive loop
    std::int64_t depth = 0;
    std::shared_ptr<bool> alive;  // false once the outermost loop has ended
  };
  Flow run_for(const Statement& statement, Scope& scope, std::string& out);
  Flow run_loop(const Statement& statement, const Value& iterable, Scope& scope, const Level& level,
                std::string& out);
  Value loop_call(const Statement& statement, Scope& scope, const Level& level);
  void run_set_block(const Statement& statement, Scope& scope);
  Value make_macro(const Statement& statement, Scope& scope);
  Value run_macro(const Statement& statement, Scope& scope, const Arguments& arguments,
                  const Value* caller);
  void assign(const Expr& target, const Value& value, Scope& scope);
  void write(std::string& out, std::string_view text);

  Value evaluate(const Expr& expr, Scope& scope);
  Value evaluate_list(const Expr& expr, Scope& scope);
  Value evaluate_dict(const Expr& expr, Scope& scope);
  Value evaluate_slice(const Expr& expr, Scope& scope);
  Value evaluate_binary(const Expr& expr, Scope& scope);
  Value evaluate_compare(const Expr& expr, Scope& scope);
  Arguments evaluate_arguments(const Expr& expr, Scope& scope);

  std::size_t steps_ = 0;
  int depth_ = 0;
  std::vector<Value> namespaces_;
  std::vector<std::unique_ptr<Scope>> kept_;  // scopes that a macro may still look into
};

// Methods of texts, lists and objects ("x".strip()); an undefined value when there is none.
[[nodiscard]] Value method_of(const Value& subject, const std::string& name);
[[nodiscard]] Value list_method(const Value& list, const std::string& name);
[[nodiscard]] Value dict_method(const Value& dict, const std::string& name);
[[nodiscard]] std::string strip(std::string_view text, const Value* chars, bool left, bool right);
// Python's operators (chat_template_operators.cpp); they throw where Python raises.
[[nodiscard]] Value binary(const std::string& op, const Value& a, const Value& b);
[[nodiscard]] Value unary(bool negate, const Value& value);
[[nodiscard]] Value slice(const Value& subject, const Value& start, const Value& stop,
                          const Value& step);
[[nodiscard]] bool contains(const Value& container, const Value& item);
// "'dict object' has no attribute 'x'", as Jinja says it.
[[nodiscard]] Value missing(const Value& subject, const Value& key);

}  // namespace trimtab::model::jinja
