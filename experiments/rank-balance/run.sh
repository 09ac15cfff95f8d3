#!/bin/bash
# How long ranks wait because their sentences have other lengths, see README.md.
#
# usage: [METHODS="lora full"] [RANKS=2] [STEPS=100] experiments/rank-balance/run.sh [section.key=value ...]
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

results=results/rank-balance
need_minilm || exit 1
need_data sst2-wordpiece
mkdir -p "$results"
[ -f "$results/train-only.h5" ] || # only steps are of interest
  "$PYTHON" -B -c 'import sys; from pathlib import Path; from experiments.support.data_sets import copy_without
copy_without(Path(sys.argv[1]), Path(sys.argv[2]), ["validation", "test"])' "$PEFTSCALE_DATA/sst2-wordpiece.h5" "$results/train-only.h5"
for method in ${METHODS:-lora full}; do
  say "$method, ${STEPS:-100} steps on $RANKS ranks"
  train experiments/rank-balance/settings.yaml "method=$method" "model.path=$MINILM" "task.data=$results/train-only.h5" "shards=$RANKS" "train.steps=${STEPS:-100}" \
    "output.dir=$results/runs" "output.name=$method-$RANKS" "$@"
done
"$PYTHON" -B experiments/rank-balance/report.py "$results/runs" | tee "$results/table.md"
