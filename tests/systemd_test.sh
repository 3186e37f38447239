#!/usr/bin/env bash
# systemd/: the units verify, and their sandboxes score as OPERATIONS.md promises.
#   systemd_test.sh UNIT_DIR BIN_DIR SOURCE_DIR
set -uo pipefail
units=$1 bin=$2 source=$3
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cp "$units"/*.service "$source"/systemd/*.slice "$source"/systemd/*.path "$work/"
# `verify` wants programs that exist: the ones just built.
sed -i -E "s#^(ExecStart=)[^ ]*/(trimtab[a-z-]*)#\1$bin/\2#; s#^(ExecStart=)[^ ]*/start-spooled-jobs#\1$source/systemd/start-spooled-jobs#" "$work"/*.service
passed=0 failed=0
check() { # check NAME COMMAND..: passes when the command does and prints nothing bad
  local name=$1 out; shift
  if out=$("$@" 2>&1); then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $name"; echo "$out"; fi
}
verify() {
  local out
  out=$(SYSTEMD_UNIT_PATH="$work:" systemd-analyze verify --man=no --recursive-errors=no "$@" 2>&1) || { echo "$out"; return 1; }
  [ -z "$out" ] || { echo "$out"; return 1; }
}
for unit in trimtabd trimtab-gateway trimtab-serve trimtab-worker-spool; do
  check "verify $unit" verify "$work/$unit.service"
done
check "verify worker" verify "$work/trimtab-worker@.service"
check "verify path" verify "$work/trimtab-worker-spool.path"
# exposure UNIT LIMIT: systemd-analyze takes the limit times ten
exposure() { systemd-analyze security --offline=true --threshold="$2" "$1"; }
check "exposure trimtabd <= 1.2" exposure "$work/trimtabd.service" 12
check "exposure gateway <= 1.2" exposure "$work/trimtab-gateway.service" 12
check "exposure serve <= 1.5" exposure "$work/trimtab-serve.service" 15
check "exposure worker <= 0.7" exposure "$work/trimtab-worker@.service" 7
# The spool script refuses names that an attacker of the trimtab user could choose.
mkdir "$work/spool" "$work/path"
printf '#!/bin/sh\necho "$@" >>"%s/started"\n' "$work" >"$work/path/systemctl"; chmod +x "$work/path/systemctl"
touch "$work/spool/job-7" "$work/spool/--now" "$work/spool/a b;c"
PATH="$work/path:$PATH" "$source/systemd/start-spooled-jobs" "$work/spool" 2>/dev/null
check "spool starts job-7 alone" grep -qx -- 'start --no-block trimtab-worker@job-7.service' "$work/started"
check "spool starts nothing else" test "$(wc -l <"$work/started")" = 1
check "spool is empty" test -z "$(ls -A "$work/spool")"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
