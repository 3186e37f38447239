// The parsed form of a chat template: expressions and statements, and the parser that makes them.
// Immutable once parsed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "retrain/model/chat_template_value.h"

namespace trimtab::model::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConst,
    kName,
    kList,
    kTuple,
    kDict,
    kAttribute,  // children[0].text
    kItem,       // children[0][children[1]]
    kSlice,      // children[0][children[1]:children[2]:children[3]], the last three may be null
    kCall,
    kFilter,
    kTest,  // children[0] is the subject, then the positional arguments
    kNot,
    kNegate,
    kPositive,
    kAnd,
    kOr,
    kBinary,     // text: + - * / // % ** ~
    kCompare,    // children[0] ops[0] children[1] ops[1] ..
    kCondition,  // children[0] if children[1] else children[2] (may be null)
  };
  Kind kind = Kind::kConst;
  std::string text;
  Value value;
  std::vector<ExprPtr> children;
  std::vector<std::string> names;  // kCall, kFilter, kTest: names of `named`; kCompare: operators
  std::vector<ExprPtr> named;
  int line = 0;
};

struct Statement {
  enum class Kind {
    kText,
    kOutput,
    kIf,
    kFor,
    kSet,
    kSetBlock,
    kMacro,
    kCallBlock,
    kFilterBlock,
    kScope,
    kBreak,
    kContinue
  };
  Kind kind = Kind::kText;
  std::string text;   // kText; kMacro: the name
  ExprPtr expr;       // kOutput, kIf's condition, kFor's iterable, kSet's value, ..
  ExprPtr condition;  // kFor: the `if` part, may be null
  ExprPtr target;     // kFor, kSet: name, tuple of names, or ns.attribute
  std::vector<std::unique_ptr<Statement>> body;
  std::vector<std::unique_ptr<Statement>> otherwise;
  std::vector<std::string> parameters;  // kMacro, kCallBlock
  std::vector<ExprPtr> defaults;        // of the last parameters
  bool recursive = false;               // kFor: `loop` may be called
  bool varargs = false;                 // kMacro, kCallBlock: the body names `varargs`
  bool kwargs = false;                  // .. `kwargs`
};
using Body = std::vector<std::unique_ptr<Statement>>;

// The name under which a filter or set block finds its own rendered body; no template can write it.
inline constexpr const char* kBlockName = "%body";

// What the interpreter knows; anything else is refused when the template is parsed.
[[nodiscard]] bool is_filter(std::string_view name);
[[nodiscard]] bool is_test(std::string_view name);

// Throws JinjaError ("line 3: ..").
[[nodiscard]] Body parse_template(std::string_view source);

}  // namespace trimtab::model::jinja
