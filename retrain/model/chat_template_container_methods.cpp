// Methods of Python's lists and objects. Those that change their object are refused as Jinja's
// immutable sandbox refuses them.
#include <algorithm>

#include "retrain/model/chat_template_interpreter.h"

namespace trimtab::model::jinja {

Value list_method(const Value& list, const std::string& name) {
  if (name == "index") {
    return Function([list](Interpreter&, const Arguments& a) -> Value {
      for (std::size_t i = 0; a.positional.size() == 1 && i < list.items().size(); ++i) {
        if (list.items()[i].equals(a.positional[0])) return static_cast<std::int64_t>(i);
      }
      throw JinjaError(a.positional.empty() ? "index() takes a value"
                                            : a.positional[0].repr() + " is not in list");
    });
  }
  if (name == "count") {
    return Function([list](Interpreter&, const Arguments& a) -> Value {
      if (a.positional.size() != 1) throw JinjaError("count() takes one argument");
      return static_cast<std::int64_t>(
          std::count_if(list.items().begin(), list.items().end(),
                        [&](const Value& one) { return one.equals(a.positional[0]); }));
    });
  }
  if (name == "copy" && !list.is_tuple())
    return Function([list](Interpreter&, const Arguments&) { return Value::list(list.items()); });
  for (const auto* changing :
       {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"}) {
    if (name == changing && !list.is_tuple()) {
      throw JinjaError("access to attribute '" + name + "' of 'list' object is unsafe.");
    }
  }
  return Value();
}

Value dict_method(const Value& dict, const std::string& name) {
  if (name == "get") {
    return Function([dict](Interpreter&, const Arguments& a) -> Value {
      if (a.positional.empty()) throw JinjaError("get expected at least 1 argument, got 0");
      const Value* found =
          a.positional[0].is_string() ? dict.field(a.positional[0].text()) : nullptr;
      if (found) return *found;
      return a.positional.size() > 1 ? a.positional[1] : Value(None{});
    });
  }
  if (name == "items" || name == "keys" || name == "values") {
    return Function([dict, name](Interpreter&, const Arguments&) -> Value {
      std::vector<Value> out;
      for (const auto& [key, value] : dict.fields()) {
        if (name == "items")
          out.push_back(Value::list({Value(key), value}, true));
        else
          out.push_back(name == "keys" ? Value(key) : value);
      }
      return Value::list(std::move(out));
    });
  }
  if (name == "copy") {
    return Function([dict](Interpreter&, const Arguments&) {
      Value copy = Value::dict();
      copy.fields() = dict.fields();
      return copy;
    });
  }
  for (const auto* changing : {"pop", "popitem", "setdefault", "update", "clear"}) {
    if (name == changing)
      throw JinjaError("access to attribute '" + name + "' of 'dict' object is unsafe.");
  }
  return Value();
}

}  // namespace trimtab::model::jinja
