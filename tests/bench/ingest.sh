# ./dev bench ingest: from Kafka bytes to the verdict with 20 signals, against consume and parse
# alone in one run; the table is written into docs/BENCHMARKS.md. With options: printed only.
ninja -C "$TRIMTAB_BUILD" ingest_bench >&2
[ $# -gt 0 ] && exec "$TRIMTAB_BUILD/tests/ingest_bench" "$@"
exec "$TRIMTAB_BUILD/tests/ingest_bench" --check --write docs/BENCHMARKS.md
