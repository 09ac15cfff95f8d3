#!/bin/bash
# MiniLM on TREC-6, see README.md. usage: [METHODS="lora head"] [SEEDS="1 2 3"] [RANKS=2] experiments/minilm-trec/run.sh [section.key=value ...]
set -euo pipefail
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_minilm || exit 1
need_data trec6-wordpiece
run_study minilm-trec "${METHODS:-lora}" "${SEEDS:-1 2 3}" "model.path=$MINILM" "$@"
