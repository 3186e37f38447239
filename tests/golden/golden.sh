#!/usr/bin/env bash
# Golden cases made with the reference libraries, run through our commands by the shared runners.
#   golden.sh vectors|trainer BIN_DIR SHARED_DIR [ARGUMENT..]
# Without the shared folder there is nothing to compare with: the test says so and skips (exit 77).
set -uo pipefail
kind=$1 bin=$2 shared=$3; shift 3
case "$kind" in
  vectors) need=$shared/tools/run_vectors ;;
  trainer) need=$shared/tools/check_trainer ;;
  *) echo "golden.sh: unknown kind '$kind'" >&2; exit 2 ;;
esac
if [ ! -e "$need" ]; then
  echo "SKIPPED: $need is not there; the golden cases live in the shared folder beside the checkout"
  exit 77
fi
case "$kind" in
  vectors) exec python3 "$need" --bin "$bin/trimtab" -j 2 "$@" ;;
  trainer) exec python3 "$need" --worker "$bin/trimtab-worker" "$shared/vectors/lora" "$@" ;;
esac
