# ./dev bench steady: 50,000 records of steady traffic through the monitor, five seeds: 0 alarms.
ninja -C "$TRIMTAB_BUILD" steady_bench >&2
exec "$TRIMTAB_BUILD/tests/steady_bench" "$@"
