#!/bin/bash
# MiniLM on CoLA, see README.md. usage: [METHODS="lora head"] [SEEDS="1 2 3"] [RANKS=2] experiments/minilm-cola/run.sh [section.key=value ...]
set -euo pipefail
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_minilm || exit 1
need_data cola-wordpiece
run_study minilm-cola "${METHODS:-lora}" "${SEEDS:-1 2 3}" "model.path=$MINILM" "$@"
