// GET explain/{id} and POST replay/{id}: the work is in explain.cpp.
#include "base/json.h"
#include "daemon/api.h"
#include "daemon/explain.h"

namespace trimtab::daemon {

Result<Json> Api::explain(StateQueries& state, const std::string& id) {
  return explain_subject(state, id);
}

Result<Json> Api::replay(StateQueries& state, const std::string& id, const Json& changes) {
  return replay_subject(state, id, changes);
}

}  // namespace trimtab::daemon
