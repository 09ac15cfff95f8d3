#!/bin/bash
# All ten methods on TREC-6 and CoLA under one budget, see README.md.
# usage: [METHODS="lora head"] [TASKS="trec6 cola"] [SEEDS="1 2 3"] [JOBS=2] [RANKS=1] experiments/minilm-methods/run.sh [section.key=value ...]
set -euo pipefail
export RANKS=${RANKS:-1}
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_minilm || exit 1
for task in ${TASKS:-trec6 cola}; do need_data "$task-wordpiece"; done
export PEFTSCALE PEFTSCALE_MPIRUN="${MPIRUN[*]}"
exec "$PYTHON" experiments/minilm-methods/study.py "model.path=$MINILM" "$@"
