# ./dev bench report [ROWS]: `trimtab compare report` over 20 numeric columns, 10^6 + 10^6 rows from
# CSV by default; seconds and peak memory. Figures: at most 5 s and 500 MB.
ninja -C "$TRIMTAB_BUILD" trimtab >&2
exec python3 tests/bench/report_bench.py --bin "$TRIMTAB_BUILD/bin/trimtab" "$@"
