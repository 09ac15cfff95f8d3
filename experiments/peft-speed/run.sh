#!/bin/bash
# Speed, memory and start-up beside transformers + PEFT + DistributedDataParallel, see README.md. Nothing else may run meanwhile.
#
# usage: [PAIRS=5] [STEPS=40] [RANKS=2] experiments/peft-speed/run.sh
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_minilm || exit 1
need_data sst2-wordpiece
pairs=${PAIRS:-5} steps=${STEPS:-40}
say "LoRA, MiniLM-L6"
make bench-peer "ARGS=--pairs $pairs --steps $steps --peers default,tuned,tuned:1x2"
say "full fine-tuning"
make bench-peer "ARGS=--methods full --modes padded --precision f32 --pairs $pairs --steps $((steps / 2)) --peers default,tuned"
say "LoRA, the shape of RoBERTa-base"
make bench-peer "ARGS=--model roberta-base --modes padded --pairs 3 --steps 6 --peers default,tuned"
say "what each method costs"
make bench-methods
say "memory of 1, 2 and 3 ranks"
"$PYTHON" -B experiments/peft-speed/memory.py | tee results/bench/memory.md
