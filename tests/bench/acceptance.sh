# ./dev bench acceptance [--seed N] [NUMBER ..]: rank_e, mean_e, paired betting and the confidence
# sequences as ACCEPTANCE.md judges them, through the command line, with all counts (half an hour).
ninja -C "$TRIMTAB_BUILD" trimtab >&2
exec python3 tests/drift/acceptance.py --bin "$TRIMTAB_BUILD/bin/trimtab" --full "$@"
