#!/usr/bin/env bash
# `cmake --install` puts every program, unit and file in place, and what is there works.
#   install_test.sh BUILD_DIR
set -uo pipefail
build=$1
stage=$(mktemp -d) && trap 'rm -rf "$stage"' EXIT
passed=0 failed=0
check() { # check NAME COMMAND..
  local name=$1 out; shift
  if out=$("$@" 2>&1); then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $name"; echo "$out"; fi
}
check "cmake --install" cmake --install "$build" --prefix "$stage"
for program in trimtabd trimtab-gateway trimtab-worker trimtab trimtab-demo; do
  check "bin/$program" test -x "$stage/bin/$program"
done
for unit in trimtabd.service trimtab-gateway.service trimtab-serve.service trimtab-worker@.service \
  trimtab-worker-spool.service trimtab-worker-spool.path trimtab.slice; do
  check "$unit" test -f "$stage/lib/systemd/system/$unit"
done
check "no unit holds a placeholder" sh -c "! grep -l '@[A-Z]*@' '$stage'/lib/systemd/system/*"
for file in lib/sysusers.d/trimtab.conf lib/tmpfiles.d/trimtab.conf share/trimtab/trimtab.example.yaml \
  share/trimtab/gateway.example.yaml share/trimtab/serve.example.env share/trimtab/prometheus/trimtab.rules.yaml \
  share/trimtab/grafana/trimtab.json share/trimtab/demo/base/config.json share/doc/trimtab/openapi.yaml; do
  check "$file" test -f "$stage/$file"
done
check "the spool's helper" test -x "$stage/libexec/trimtab/start-spooled-jobs"
check "sysusers" systemd-sysusers --dry-run --root="$stage" "$stage/lib/sysusers.d/trimtab.conf"
check "the installed trimtab runs" "$stage/bin/trimtab" --version
check "the installed example is valid" "$stage/bin/trimtab" check-config "$stage/share/trimtab/trimtab.example.yaml"
check "the gateway's, too" "$stage/bin/trimtab" check-config --gateway "$stage/share/trimtab/gateway.example.yaml"
check "the demo is found" "$stage/bin/trimtab" demo --help
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
