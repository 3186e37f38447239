# ./dev bench ingest: Kafka bytes to decoded records, against consume and parse alone in one run.
ninja -C "$TRIMTAB_BUILD" ingest_bench >&2
exec "$TRIMTAB_BUILD/tests/ingest_bench" "$@"
