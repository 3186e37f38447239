# ./dev bench monitor_memory [EVENTS]: the monitor's memory over 10^8 observations. Two minutes or so.
ninja -C "$TRIMTAB_BUILD" monitor_memory_bench >&2
exec "$TRIMTAB_BUILD/tests/monitor_memory_bench" "$@"
