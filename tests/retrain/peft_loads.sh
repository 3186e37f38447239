#!/usr/bin/env bash
# Runs peft_loads.py with a Python that has peft; without one it says so and skips (exit 77).
#   peft_loads.sh WORKER SHARED_DIR BUILD_DIR
set -uo pipefail
worker=$1 shared=$2 build=$3
python=${TRIMTAB_PEFT_PYTHON:-$build/peft/bin/python}
if [ ! -x "$python" ] || ! "$python" -c 'import torch, transformers, peft' 2>/dev/null; then
  echo "SKIPPED: no Python with torch, transformers and peft at $python; make one with"
  echo "  python3 -m venv $build/peft && $build/peft/bin/pip install torch transformers peft gguf"
  echo "or set TRIMTAB_PEFT_PYTHON"
  exit 77
fi
if [ ! -d "$shared/vectors/lora" ]; then
  echo "SKIPPED: $shared/vectors/lora is not there"
  exit 77
fi
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 CUDA_VISIBLE_DEVICES=
exec "$python" "$(dirname "$0")/peft_loads.py" "$worker" "$shared/vectors/lora"
