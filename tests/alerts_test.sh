#!/usr/bin/env bash
# The alert rules parse and fire when they should, and every metric that rules and dashboard name is
# one that docs/METRICS.md lists.   alerts_test.sh SOURCE_DIR
set -uo pipefail
source=$1; passed=0; failed=0
check() { if out=$("${@:2}" 2>&1); then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1"; echo "$out"; fi; }
cd "$source/config/prometheus"
check "promtool check rules" promtool check rules trimtab.rules.yaml
check "promtool test rules" promtool test rules trimtab.rules.test.yaml
check "docs/METRICS.md is current" python3 "$source/tests/metrics_table.py"
check "dashboard is JSON" python3 -m json.tool "$source/config/grafana/trimtab.json"
named() { grep -ohE '\btrimtab_[a-z0-9_]+' trimtab.rules.yaml "$source/config/grafana/trimtab.json" | sed -E 's/_bucket$//' | sort -u; }
for metric in $(named); do
  check "docs/METRICS.md lists $metric" grep -q "\`$metric\`" "$source/docs/METRICS.md"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
