// Recursive descent over Jinja's grammar (jinja2/parser.py), the part that chat templates use.
// Over 400 lines because it is one class with a function for each rule of the grammar.
#include <algorithm>
#include <array>
#include <utility>

#include "retrain/model/chat_template_ast.h"
#include "retrain/model/chat_template_lexer.h"

namespace trimtab::model::jinja {
namespace {

constexpr int kMaxDepth = 100;  // of nested expressions and blocks
using Kind = Token::Kind;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = statements({});
    if (peek().kind != Kind::kEnd) refuse("unexpected tag '" + peek().text + "'");
    return body;
  }

 private:
  // ---- tokens ----
  [[nodiscard]] const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token next() { return tokens_[std::min(at_++, tokens_.size() - 1)]; }
  [[noreturn]] void refuse(const std::string& what) const {
    throw JinjaError("line " + std::to_string(peek().line) + ": " + what);
  }
  [[nodiscard]] bool is_operator(std::string_view text, std::size_t ahead = 0) const {
    return peek(ahead).kind == Kind::kOperator && peek(ahead).text == text;
  }
  [[nodiscard]] bool is_name(std::string_view text, std::size_t ahead = 0) const {
    return peek(ahead).kind == Kind::kName && peek(ahead).text == text;
  }
  bool take_operator(std::string_view text) {
    if (!is_operator(text)) return false;
    ++at_;
    return true;
  }
  bool take_name(std::string_view text) {
    if (!is_name(text)) return false;
    ++at_;
    return true;
  }
  void expect_operator(std::string_view text) {
    if (!take_operator(text))
      refuse("expected '" + std::string(text) + "', got '" + peek().text + "'");
  }
  std::string expect_name() {
    if (peek().kind != Kind::kName) refuse("expected a name");
    return next().text;
  }
  void expect_block_end() {
    if (peek().kind != Kind::kBlockEnd)
      refuse("expected the end of the tag, got '" + peek().text + "'");
    ++at_;
  }
  struct Deeper {
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxDepth) parser.refuse("nested more than 100 deep");
    }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };

  ExprPtr make(Expr::Kind kind, std::string text = {}) const {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->text = std::move(text);
    expr->line = peek().line;
    return expr;
  }
  template <typename... Children>
  ExprPtr make_with(Expr::Kind kind, std::string text, Children... children) const {
    auto expr = make(kind, std::move(text));
    (expr->children.push_back(std::move(children)), ...);
    return expr;
  }

  // ---- expressions, loosest first ----
  ExprPtr expression() {
    const Deeper deeper(*this);
    ExprPtr left = disjunction();
    while (take_name("if")) {
      ExprPtr condition = disjunction();
      ExprPtr otherwise = take_name("else") ? expression() : nullptr;
      left = make_with(Expr::Kind::kCondition, "", std::move(left), std::move(condition),
                       std::move(otherwise));
    }
    return left;
  }
  ExprPtr disjunction() {
    ExprPtr left = conjunction();
    while (take_name("or")) left = make_with(Expr::Kind::kOr, "", std::move(left), conjunction());
    return left;
  }
  ExprPtr conjunction() {
    ExprPtr left = negation();
    while (take_name("and")) left = make_with(Expr::Kind::kAnd, "", std::move(left), negation());
    return left;
  }
  ExprPtr negation() {
    if (!is_name("not")) return comparison();
    const Deeper deeper(*this);
    ++at_;
    return make_with(Expr::Kind::kNot, "", negation());
  }
  [[nodiscard]] std::string comparison_operator() {
    static constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<",
                                                                   "<=", ">",  ">="};
    for (const auto op : kOperators) {
      if (take_operator(op)) return std::string(op);
    }
    if (take_name("in")) return "in";
    if (is_name("not") && is_name("in", 1)) {
      at_ += 2;
      return "not in";
    }
    return {};
  }
  ExprPtr comparison() {
    ExprPtr left = sum();
    std::string op = comparison_operator();
    if (op.empty()) return left;
    ExprPtr chain = make_with(Expr::Kind::kCompare, "", std::move(left));
    for (; !op.empty(); op = comparison_operator()) {
      chain->names.push_back(op);
      chain->children.push_back(sum());
    }
    return chain;
  }
  ExprPtr sum() {
    ExprPtr left = concatenation();
    while (is_operator("+") || is_operator("-")) {
      const std::string op = next().text;
      left = make_with(Expr::Kind::kBinary, op, std::move(left), concatenation());
    }
    return left;
  }
  ExprPtr concatenation() {
    ExprPtr left = product();
    while (take_operator("~"))
      left = make_with(Expr::Kind::kBinary, "~", std::move(left), product());
    return left;
  }
  ExprPtr product() {
    ExprPtr left = power();
    while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
      const std::string op = next().text;
      left = make_with(Expr::Kind::kBinary, op, std::move(left), power());
    }
    return left;
  }
  ExprPtr power() {
    ExprPtr left = unary(true);
    while (take_operator("**"))
      left = make_with(Expr::Kind::kBinary, "**", std::move(left), unary(true));
    return left;
  }
  ExprPtr unary(bool with_filters) {
    const Deeper deeper(*this);
    ExprPtr expr;
    if (take_operator("-"))
      expr = make_with(Expr::Kind::kNegate, "", unary(false));
    else if (take_operator("+"))
      expr = make_with(Expr::Kind::kPositive, "", unary(false));
    else
      expr = primary();
    expr = postfix(std::move(expr));
    return with_filters ? filters(std::move(expr)) : std::move(expr);
  }

  ExprPtr constant(Value value) const {
    auto expr = make(Expr::Kind::kConst);
    expr->value = std::move(value);
    return expr;
  }
  ExprPtr primary() {
    const Token token = next();
    switch (token.kind) {
      case Kind::kName: return name_or_constant(token.text);
      case Kind::kString: {
        std::string text = token.text;
        while (peek().kind == Kind::kString) text += next().text;
        return constant(std::move(text));
      }
      case Kind::kInteger: return number(token.text, false);
      case Kind::kFloat: return number(token.text, true);
      default: break;
    }
    if (token.kind == Kind::kOperator) {
      if (token.text == "(") return parenthesized();
      if (token.text == "[") return list();
      if (token.text == "{") return dict();
    }
    --at_;
    refuse("unexpected '" + token.text + "' in an expression");
  }
  ExprPtr name_or_constant(const std::string& name) const {
    if (name == "true" || name == "True") return constant(true);
    if (name == "false" || name == "False") return constant(false);
    if (name == "none" || name == "None") return constant(None{});
    return make(Expr::Kind::kName, name);
  }
  ExprPtr number(const std::string& text, bool is_float) const {
    if (text.size() > 18) refuse("a number of more than 18 digits");
    if (is_float) return constant(std::stod(text));
    return constant(static_cast<std::int64_t>(std::stoll(text)));
  }
  ExprPtr parenthesized() {
    if (take_operator(")")) return make(Expr::Kind::kTuple);
    ExprPtr first = expression();
    if (take_operator(")")) return first;
    ExprPtr tuple = make_with(Expr::Kind::kTuple, "", std::move(first));
    while (take_operator(",")) {
      if (is_operator(")")) break;
      tuple->children.push_back(expression());
    }
    expect_operator(")");
    return tuple;
  }
  ExprPtr list() {
    ExprPtr expr = make(Expr::Kind::kList);
    while (!is_operator("]")) {
      expr->children.push_back(expression());
      if (!take_operator(",")) break;
    }
    expect_operator("]");
    return expr;
  }
  ExprPtr dict() {
    ExprPtr expr = make(Expr::Kind::kDict);
    while (!is_operator("}")) {
      expr->children.push_back(expression());
      expect_operator(":");
      expr->children.push_back(expression());
      if (!take_operator(",")) break;
    }
    expect_operator("}");
    return expr;
  }

  ExprPtr postfix(ExprPtr expr) {
    for (;;) {
      if (take_operator(".")) {
        const Token token = next();
        if (token.kind == Kind::kName) {
          expr = make_with(Expr::Kind::kAttribute, token.text, std::move(expr));
        } else if (token.kind == Kind::kInteger) {
          expr = make_with(Expr::Kind::kItem, "", std::move(expr), number(token.text, false));
        } else {
          refuse("expected a name after '.'");
        }
      } else if (take_operator("[")) {
        expr = subscript(std::move(expr));
      } else if (is_operator("(")) {
        ExprPtr call = make_with(Expr::Kind::kCall, "", std::move(expr));
        arguments(*call);
        expr = std::move(call);
      } else {
        return expr;
      }
    }
  }
  ExprPtr subscript(ExprPtr subject) {
    ExprPtr start = is_operator(":") ? nullptr : expression();
    if (!is_operator(":")) {
      expect_operator("]");
      return make_with(Expr::Kind::kItem, "", std::move(subject), std::move(start));
    }
    ++at_;
    const auto part = [&]() -> ExprPtr {
      return is_operator(":") || is_operator("]") ? nullptr : expression();
    };
    ExprPtr stop = part();
    ExprPtr step = take_operator(":") ? part() : nullptr;
    expect_operator("]");
    return make_with(Expr::Kind::kSlice, "", std::move(subject), std::move(start), std::move(stop),
                     std::move(step));
  }
  void arguments(Expr& call) {
    const Deeper deeper(*this);
    expect_operator("(");
    while (!is_operator(")")) {
      if (is_operator("*") || is_operator("**")) refuse("'*' arguments are not covered");
      if (peek().kind == Kind::kName && is_operator("=", 1)) {
        call.names.push_back(next().text);
        ++at_;
        call.named.push_back(expression());
      } else {
        if (!call.named.empty()) refuse("a positional argument follows a named one");
        call.children.push_back(expression());
      }
      if (!take_operator(",")) break;
    }
    expect_operator(")");
  }
  ExprPtr filters(ExprPtr expr) {
    for (;;) {
      if (take_operator("|")) {
        expr = filter(std::move(expr));
      } else if (take_name("is")) {
        expr = test(std::move(expr));
      } else if (is_operator("(")) {
        ExprPtr call = make_with(Expr::Kind::kCall, "", std::move(expr));
        arguments(*call);
        expr = std::move(call);
      } else {
        return expr;
      }
    }
  }
  ExprPtr filter(ExprPtr subject) {
    std::string name = expect_name();
    while (take_operator(".")) name += "." + expect_name();
    if (!is_filter(name)) refuse("the filter '" + name + "' is not covered");
    ExprPtr expr = make_with(Expr::Kind::kFilter, name, std::move(subject));
    if (is_operator("(")) arguments(*expr);
    return expr;
  }
  ExprPtr test(ExprPtr subject) {
    const bool negated = take_name("not");
    const std::string name = expect_name();
    if (!is_test(name)) refuse("the test '" + name + "' is not covered");
    ExprPtr expr = make_with(Expr::Kind::kTest, name, std::move(subject));
    if (is_operator("(")) {
      arguments(*expr);
    } else if (starts_argument()) {
      expr->children.push_back(postfix(primary()));
    }
    return negated ? make_with(Expr::Kind::kNot, "", std::move(expr)) : std::move(expr);
  }
  [[nodiscard]] bool starts_argument() const {
    switch (peek().kind) {
      case Kind::kString:
      case Kind::kInteger:
      case Kind::kFloat: return true;
      case Kind::kOperator: return is_operator("[") || is_operator("{");
      case Kind::kName:
        return !is_name("else") && !is_name("or") && !is_name("and") && !is_name("if") &&
               !is_name("is") && !is_name("in") && !is_name("not");
      default: return false;
    }
  }

  // ---- statements ----
  [[nodiscard]] bool at_end_tag(const std::vector<std::string_view>& ends) const {
    if (peek().kind != Kind::kBlockBegin) return false;
    return std::any_of(ends.begin(), ends.end(), [&](auto end) { return is_name(end, 1); });
  }
  Body statements(const std::vector<std::string_view>& ends) {
    const Deeper deeper(*this);
    Body body;
    while (peek().kind != Kind::kEnd && !at_end_tag(ends)) {
      if (peek().kind == Kind::kText) {
        body.push_back(statement_of(Statement::Kind::kText));
        body.back()->text = next().text;
      } else if (peek().kind == Kind::kVariableBegin) {
        ++at_;
        body.push_back(statement_of(Statement::Kind::kOutput));
        body.back()->expr = tuple_expression();
        if (next().kind != Kind::kVariableEnd) {
          --at_;
          refuse("expected '}}', got '" + peek().text + "'");
        }
      } else if (peek().kind == Kind::kBlockBegin) {
        ++at_;
        body.push_back(block());
      } else {
        refuse("unexpected '" + peek().text + "'");
      }
    }
    if (!ends.empty() && peek().kind == Kind::kEnd) {
      refuse("the template ends where '" + std::string(ends.back()) + "' is expected");
    }
    return body;
  }
  static std::unique_ptr<Statement> statement_of(Statement::Kind kind) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    return statement;
  }
  // Past "{% endx": the caller stands at its name.
  void end_tag() {
    at_ += 2;
    expect_block_end();
  }
  ExprPtr tuple_expression() {
    ExprPtr first = expression();
    if (!is_operator(",")) return first;
    ExprPtr tuple = make_with(Expr::Kind::kTuple, "", std::move(first));
    while (take_operator(",")) {
      if (peek().kind == Kind::kBlockEnd || peek().kind == Kind::kVariableEnd) break;
      tuple->children.push_back(expression());
    }
    return tuple;
  }

  std::unique_ptr<Statement> block() {
    const std::string name = expect_name();
    if (name == "if") return if_block();
    if (name == "for") return for_block();
    if (name == "set") return set_block();
    if (name == "macro") return macro_block();
    if (name == "call") return call_block();
    if (name == "filter") return filter_block();
    if (name == "generation") return scope_block("endgeneration");
    if (name == "with") return with_block();
    if (name == "break" || name == "continue") {
      expect_block_end();
      return statement_of(name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
    }
    refuse("the tag '" + name + "' is not covered");
  }
  std::unique_ptr<Statement> if_block() {
    auto statement = statement_of(Statement::Kind::kIf);
    statement->expr = tuple_expression();
    expect_block_end();
    statement->body = statements({"elif", "else", "endif"});
    if (is_name("elif", 1)) {
      const Deeper deeper(*this);
      at_ += 2;
      statement->otherwise.push_back(if_block());
      return statement;
    }
    if (is_name("else", 1)) {
      end_tag();
      statement->otherwise = statements({"endif"});
    }
    end_tag();
    return statement;
  }
  ExprPtr target() {
    const auto one = [&]() -> ExprPtr {
      if (take_operator("(")) {
        ExprPtr inner = target();
        expect_operator(")");
        return inner;
      }
      return make(Expr::Kind::kName, expect_name());
    };
    ExprPtr first = one();
    if (!is_operator(",")) return first;
    ExprPtr tuple = make_with(Expr::Kind::kTuple, "", std::move(first));
    while (take_operator(",")) {
      if (is_name("in") || is_operator("=")) break;
      tuple->children.push_back(one());
    }
    return tuple;
  }
  std::unique_ptr<Statement> for_block() {
    auto statement = statement_of(Statement::Kind::kFor);
    statement->target = target();
    if (!take_name("in")) refuse("expected 'in'");
    // An "if" here filters; a conditional expression would need parentheses, as in Jinja.
    statement->expr = disjunction();
    if (is_operator(",")) {
      ExprPtr tuple = make_with(Expr::Kind::kTuple, "", std::move(statement->expr));
      while (take_operator(",")) tuple->children.push_back(disjunction());
      statement->expr = std::move(tuple);
    }
    if (take_name("if")) statement->condition = expression();
    statement->recursive = take_name("recursive");
    expect_block_end();
    statement->body = statements({"else", "endfor"});
    if (is_name("else", 1)) {
      end_tag();
      statement->otherwise = statements({"endfor"});
    }
    end_tag();
    return statement;
  }
  std::unique_ptr<Statement> set_block() {
    auto statement = statement_of(Statement::Kind::kSet);
    if (peek().kind == Kind::kName && is_operator(".", 1)) {
      ExprPtr name = make(Expr::Kind::kName, next().text);
      ++at_;
      statement->target = make_with(Expr::Kind::kAttribute, expect_name(), std::move(name));
    } else {
      statement->target = target();
    }
    if (take_operator("=")) {
      statement->expr = tuple_expression();
      expect_block_end();
      return statement;
    }
    statement->kind = Statement::Kind::kSetBlock;
    ExprPtr content = make(Expr::Kind::kName, kBlockName);
    if (is_operator("|")) statement->expr = filters(std::move(content));
    expect_block_end();
    statement->body = statements({"endset"});
    end_tag();
    return statement;
  }
  void signature(Statement& statement) {
    expect_operator("(");
    while (!is_operator(")")) {
      statement.parameters.push_back(expect_name());
      if (take_operator("="))
        statement.defaults.push_back(expression());
      else if (!statement.defaults.empty())
        refuse("a parameter without default follows one with it");
      if (!take_operator(",")) break;
    }
    expect_operator(")");
  }
  // Jinja gives a macro varargs and kwargs only where its body names them.
  void macro_body(Statement& statement, std::string_view end) {
    const std::size_t begin = at_;
    statement.body = statements({end});
    for (std::size_t i = begin; i < at_; ++i) {
      if (tokens_[i].kind != Kind::kName) continue;
      statement.varargs = statement.varargs || tokens_[i].text == "varargs";
      statement.kwargs = statement.kwargs || tokens_[i].text == "kwargs";
    }
  }
  std::unique_ptr<Statement> macro_block() {
    auto statement = statement_of(Statement::Kind::kMacro);
    statement->text = expect_name();
    signature(*statement);
    expect_block_end();
    macro_body(*statement, "endmacro");
    end_tag();
    return statement;
  }
  std::unique_ptr<Statement> call_block() {
    auto statement = statement_of(Statement::Kind::kCallBlock);
    if (is_operator("(")) signature(*statement);
    statement->expr = expression();
    if (statement->expr->kind != Expr::Kind::kCall) refuse("expected a call");
    expect_block_end();
    macro_body(*statement, "endcall");
    end_tag();
    return statement;
  }
  std::unique_ptr<Statement> filter_block() {
    auto statement = statement_of(Statement::Kind::kFilterBlock);
    statement->expr = filters(filter(make(Expr::Kind::kName, kBlockName)));
    expect_block_end();
    statement->body = statements({"endfilter"});
    end_tag();
    return statement;
  }
  std::unique_ptr<Statement> scope_block(std::string_view end) {
    auto statement = statement_of(Statement::Kind::kScope);
    expect_block_end();
    statement->body = statements({end});
    end_tag();
    return statement;
  }
  std::unique_ptr<Statement> with_block() {
    auto statement = statement_of(Statement::Kind::kScope);
    while (peek().kind == Kind::kName) {
      auto assignment = statement_of(Statement::Kind::kSet);
      assignment->target = make(Expr::Kind::kName, expect_name());
      expect_operator("=");
      assignment->expr = expression();
      statement->body.push_back(std::move(assignment));
      if (!take_operator(",")) break;
    }
    expect_block_end();
    for (auto& inner : statements({"endwith"})) statement->body.push_back(std::move(inner));
    end_tag();
    return statement;
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(tokenize_template(source)).run(); }

}  // namespace trimtab::model::jinja
