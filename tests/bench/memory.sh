# ./dev bench memory [EVENTS]: the monitor's memory over 10^8 observations. Two minutes or so.
ninja -C "$TRIMTAB_BUILD" memory_bench >&2
exec "$TRIMTAB_BUILD/tests/memory_bench" "$@"
