// Jinja's filters over sequences and objects (jinja2/filters.py).
#include <algorithm>

#include "retrain/model/chat_template_filters.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

// "a.b.0" of an item, as Jinja's attribute= argument.
Value path(Interpreter& run, const Value& subject, const Value& attribute) {
  if (!attribute.is_string()) return run.item(subject, attribute);
  Value at = subject;
  std::string_view rest = attribute.text();
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(),
                                                     [](char c) { return c >= '0' && c <= '9'; });
    at =
        run.item(at, number && part.size() < 10 ? Value(static_cast<std::int64_t>(std::stoll(part)))
                                                : Value(part));
    if (dot == std::string_view::npos) return at;
    rest.remove_prefix(dot + 1);
  }
}

Value filter_join(Interpreter& run, const Value& v, const Arguments& a) {
  const Value* separator = a.find(0, "d");
  const Value* attribute = a.find(1, "attribute");
  std::string out;
  bool first = true;
  for (const auto& item : v.iterate()) {
    if (!first && separator) out += separator->str();
    first = false;
    out += (attribute && !attribute->is_none() ? path(run, item, *attribute) : item).str();
    if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
  }
  return out;
}

// sort, unique, min and max compare texts without regard to case unless told otherwise.
Value sort_key(Interpreter& run, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute && !attribute->is_none() ? path(run, item, *attribute) : item;
  if (!case_sensitive && key.is_string()) key = Value(lowercase(key.text()));
  return key;
}

// sort's key is a list, one value for each of "a,b": equal values, undefined ones too, need no
// order.
Value sort_keys(Interpreter& run, const Value& item, const Value* attribute, bool case_sensitive) {
  std::vector<Value> keys;
  if (attribute == nullptr || !attribute->is_string()) {
    keys.push_back(sort_key(run, item, attribute, case_sensitive));
    return Value::list(std::move(keys));
  }
  std::string_view rest = attribute->text();
  while (true) {
    const std::size_t comma = rest.find(',');
    const Value one(std::string(rest.substr(0, comma)));
    keys.push_back(sort_key(run, item, &one, case_sensitive));
    if (comma == std::string_view::npos) return Value::list(std::move(keys));
    rest.remove_prefix(comma + 1);
  }
}

Value filter_sort(Interpreter& run, const Value& v, const Arguments& a) {
  const bool reverse = flag_argument(a, 0, "reverse", false),
             sensitive = flag_argument(a, 1, "case_sensitive", false);
  std::vector<std::pair<Value, Value>> keyed;
  for (auto& item : v.iterate())
    keyed.emplace_back(sort_keys(run, item, a.find(2, "attribute"), sensitive), item);
  // A merge by hand would be stable too; std::stable_sort may be given an order that throws.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return reverse ? y.first.compare(x.first, "<") < 0 : x.first.compare(y.first, "<") < 0;
  });
  std::vector<Value> out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return Value::list(std::move(out));
}

Value filter_unique(Interpreter& run, const Value& v, const Arguments& a) {
  const bool sensitive = flag_argument(a, 0, "case_sensitive", false);
  std::vector<Value> keys, out;
  for (const auto& item : v.iterate()) {
    const Value key = sort_key(run, item, a.find(1, "attribute"), sensitive);
    run.step();
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return k.equals(key); }))
      continue;
    keys.push_back(key);
    if (keys.size() > 10'000) throw JinjaError("unique takes at most 10,000 items");
    out.push_back(item);
  }
  return Value::generator(std::move(out));
}

Value extreme(Interpreter& run, const Value& v, const Arguments& a, int wanted) {
  const auto items = v.iterate();
  if (items.empty()) return Value(Undefined{"No aggregated item, sequence was empty."});
  const bool sensitive = flag_argument(a, 0, "case_sensitive", false);
  const auto key = [&](const Value& item) {
    return sort_key(run, item, a.find(1, "attribute"), sensitive);
  };
  const Value* best = &items[0];
  for (const auto& item : items) {
    if (key(item).compare(key(*best), "<") * wanted > 0) best = &item;
  }
  return *best;
}

Value filter_map(Interpreter& run, const Value& v, const Arguments& a) {
  std::vector<Value> out;
  const Value* attribute = a.find(99, "attribute");
  if (!v.truth()) return Value::generator({});  // as Jinja: none and false, too
  for (const auto& item : v.iterate()) {
    run.step();
    if (attribute) {
      Value got = path(run, item, *attribute);
      const Value* fallback = a.find(99, "default");
      out.push_back(got.is_undefined() && fallback ? *fallback : got);
      continue;
    }
    if (a.positional.empty() || !a.positional[0].is_string())
      throw JinjaError("map requires a filter argument");
    Arguments rest;
    rest.positional.assign(a.positional.begin() + 1, a.positional.end());
    rest.named = a.named;
    out.push_back(run.apply_filter(a.positional[0].text(), item, rest));
  }
  return Value::generator(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value choose(Interpreter& run, const Value& v, const Arguments& a, bool by_attribute, bool keep) {
  std::vector<Value> out;
  const std::size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty()) throw JinjaError("selectattr takes an attribute");
  if (!v.truth()) return Value::generator({});  // as Jinja: none and false, too
  for (const auto& item : v.iterate()) {
    run.step();
    const Value subject = by_attribute ? path(run, item, a.positional[0]) : item;
    bool holds = subject.truth();
    if (a.positional.size() > skip) {
      Arguments rest;
      rest.positional.assign(a.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1,
                             a.positional.end());
      holds = run.apply_test(a.positional[skip].str(), subject, rest);
    }
    if (holds == keep) out.push_back(item);
  }
  return Value::generator(std::move(out));
}

Value pair_list(const std::vector<std::pair<std::string, Value>>& fields) {
  std::vector<Value> out;
  for (const auto& [key, value] : fields) out.push_back(Value::list({Value(key), value}, true));
  return Value::list(std::move(out));
}

Value filter_items(Interpreter&, const Value& v, const Arguments&) {
  if (v.is_undefined()) return Value::generator({});
  if (!v.is_dict()) throw JinjaError("Can only get item pairs from a mapping.");
  return Value::generator(pair_list(v.fields()).items());
}

Value filter_dictsort(Interpreter& run, const Value& v, const Arguments& a) {
  if (!v.is_dict()) throw JinjaError("dictsort takes an object");
  const bool sensitive = flag_argument(a, 0, "case_sensitive", false),
             reverse = flag_argument(a, 2, "reverse", false);
  const Value* by = a.find(1, "by");
  const bool by_value = by && by->str() == "value";
  auto fields = v.fields();
  std::stable_sort(fields.begin(), fields.end(), [&](const auto& x, const auto& y) {
    const Value kx = sort_key(run, by_value ? x.second : Value(x.first), nullptr, sensitive);
    const Value ky = sort_key(run, by_value ? y.second : Value(y.first), nullptr, sensitive);
    return (reverse ? ky.compare(kx, "<") : kx.compare(ky, "<")) < 0;
  });
  return pair_list(fields);
}

Value filter_first(Interpreter&, const Value& v, const Arguments&) {
  Value first = v.take_first();
  return first.is_undefined() ? Value(Undefined{"No first item, sequence was empty."}) : first;
}
Value filter_last(Interpreter&, const Value& v, const Arguments&) {
  if (v.is_generator()) throw JinjaError("'generator' object is not reversible");
  const auto items = v.iterate();
  return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
}
Value filter_reverse(Interpreter&, const Value& v, const Arguments&) {
  auto items = v.iterate();
  std::reverse(items.begin(), items.end());
  if (v.is_generator()) return Value::list(std::move(items));  // Jinja's way round: a list
  if (!v.is_string()) return Value::generator(std::move(items));
  std::string out;
  for (const auto& c : items) out += c.text();
  return out;
}

// Python's sum(): numbers, and lists with `start=[]`.
Value filter_sum(Interpreter& run, const Value& v, const Arguments& a) {
  const Value *attribute = a.find(0, "attribute"), *start = a.find(1, "start");
  Value total = start ? *start : Value(std::int64_t{0});
  if (total.is_string()) throw JinjaError("sum() can't sum strings [use ''.join(seq) instead]");
  for (const auto& item : v.iterate()) {
    run.step();
    total =
        binary("+", total, attribute && !attribute->is_none() ? path(run, item, *attribute) : item);
  }
  return total;
}

// Items in the order of `attribute`, one (grouper, list) for each value of it.
Value filter_groupby(Interpreter& run, const Value& v, const Arguments& a) {
  const Value *attribute = a.find(0, "attribute"), *fallback = a.find(1, "default");
  if (attribute == nullptr) throw JinjaError("groupby takes an attribute");
  const bool sensitive = flag_argument(a, 2, "case_sensitive", false);
  struct Keyed {
    Value shown, key, item;
  };
  std::vector<Keyed> keyed;
  for (auto& item : v.iterate()) {
    Value shown = path(run, item, *attribute);
    if (shown.is_undefined() && fallback != nullptr) shown = *fallback;
    Value key = !sensitive && shown.is_string() ? Value(lowercase(shown.text())) : shown;
    keyed.push_back({std::move(shown), std::move(key), std::move(item)});
  }
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const Keyed& x, const Keyed& y) { return x.key.compare(y.key, "<") < 0; });
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < keyed.size();) {
    std::vector<Value> members;
    std::size_t end = begin;
    while (end < keyed.size() && keyed[end].key.equals(keyed[begin].key))
      members.push_back(keyed[end++].item);
    groups.push_back(Value::named_tuple(
        {{"grouper", keyed[begin].shown}, {"list", Value::list(std::move(members))}}));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value filter_batch(Interpreter&, const Value& v, const Arguments& a) {
  const std::int64_t size = int_argument(a, 0, "linecount", 0);
  const Value* fill = a.find(1, "fill_with");
  std::vector<Value> batches, one;
  for (const auto& item : v.iterate()) {
    if (static_cast<std::int64_t>(one.size()) == size && !one.empty())
      batches.push_back(Value::list(std::exchange(one, {})));
    one.push_back(item);
  }
  if (one.empty()) return Value::generator(std::move(batches));
  if (fill != nullptr && !fill->is_none()) {
    if (size > static_cast<std::int64_t>(kMaxItems)) throw JinjaError("a batch grows too large");
    while (static_cast<std::int64_t>(one.size()) < size) one.push_back(*fill);
  }
  batches.push_back(Value::list(std::move(one)));
  return Value::generator(std::move(batches));
}

Value filter_slice(Interpreter&, const Value& v, const Arguments& a) {
  const std::int64_t slices = int_argument(a, 0, "slices", 0);
  if (slices == 0) throw JinjaError("integer division or modulo by zero");
  const Value* fill = a.find(1, "fill_with");
  const auto items = v.iterate();
  const auto count = static_cast<std::int64_t>(items.size());
  if (slices > static_cast<std::int64_t>(kMaxItems)) throw JinjaError("slice takes fewer columns");
  std::vector<Value> out;
  auto from = items.begin();
  for (std::int64_t i = 0; i < slices; ++i) {
    const bool longer = i < count % slices;
    const auto to = from + count / slices + (longer ? 1 : 0);
    std::vector<Value> column(from, to);
    if (fill != nullptr && !fill->is_none() && !longer) column.push_back(*fill);
    out.push_back(Value::list(std::move(column)));
    from = to;
  }
  return Value::generator(std::move(out));
}

}  // namespace

void add_list_filters(FilterTable& t) {
  t["select"] = [](Interpreter& r, const Value& v, const Arguments& a) {
    return choose(r, v, a, false, true);
  };
  t["reject"] = [](Interpreter& r, const Value& v, const Arguments& a) {
    return choose(r, v, a, false, false);
  };
  t["selectattr"] = [](Interpreter& r, const Value& v, const Arguments& a) {
    return choose(r, v, a, true, true);
  };
  t["rejectattr"] = [](Interpreter& r, const Value& v, const Arguments& a) {
    return choose(r, v, a, true, false);
  };
  t["min"] = [](Interpreter& r, const Value& v, const Arguments& a) {
    return extreme(r, v, a, -1);
  };
  t["max"] = [](Interpreter& r, const Value& v, const Arguments& a) { return extreme(r, v, a, 1); };
  t["join"] = filter_join;
  t["sort"] = filter_sort;
  t["unique"] = filter_unique;
  t["sum"] = filter_sum;
  t["map"] = filter_map;
  t["items"] = filter_items;
  t["dictsort"] = filter_dictsort;
  t["first"] = filter_first;
  t["last"] = filter_last;
  t["reverse"] = filter_reverse;
  t["groupby"] = filter_groupby;
  t["batch"] = filter_batch;
  t["slice"] = filter_slice;
}

}  // namespace trimtab::model::jinja
