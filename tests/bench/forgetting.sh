# ./dev bench forgetting: the trade-off between a new task and the old ones, on the demo's base.
#   [--quick] fewer lines and epochs; [--out FILE] the page to write (default docs/TRAINING.md)
# Minutes of CPU. The table between the two marks in docs/TRAINING.md is replaced by what was measured.
ninja -C "$TRIMTAB_BUILD" trimtab-worker trimtab-demo >&2
exec python3 tests/bench/forgetting.py --bin "$TRIMTAB_BUILD/bin" --base daemon/demo/base "$@"
