# ./dev bench memory: the real trimtabd's resident size over a million records (--bad 100: garbage).
ninja -C "$TRIMTAB_BUILD" memory_bench trimtabd >&2
exec "$TRIMTAB_BUILD/tests/memory_bench" "$@"
