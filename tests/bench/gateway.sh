# ./dev bench gateway: what the gateway adds to a request, and how many a core carries.
ninja -C "$TRIMTAB_BUILD" gateway_bench trimtab-gateway >&2
exec "$TRIMTAB_BUILD/tests/gateway_bench" "${@:---check}"
