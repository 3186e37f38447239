# ./dev bench train --base DIR [--threads N] [--peft PYTHON]: the trainer's speed and memory.
# --help says more; docs/TRAINING.md has the set-up of a PYTHON with PEFT.
ninja -C "$TRIMTAB_BUILD" gemm_rate trimtab-worker >&2
exec python3 tests/bench/train_bench.py --build "$TRIMTAB_BUILD" "$@"
