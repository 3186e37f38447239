# ./dev bench detectors: ns, bytes, mean run to a false alarm and delays of every detector; the
# table is written into docs/BENCHMARKS.md. With names: those only, printed, nothing written.
ninja -C "$TRIMTAB_BUILD" detectors_bench >&2
[ $# -gt 0 ] && exec "$TRIMTAB_BUILD/tests/detectors_bench" "$@"
exec "$TRIMTAB_BUILD/tests/detectors_bench" --check --write docs/BENCHMARKS.md
