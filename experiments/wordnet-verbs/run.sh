#!/bin/bash
# MiniLM on WordNet's verb glosses, see README.md.
# usage: [METHODS="lora head"] [SEEDS="1 2 3"] [RANKS=2] experiments/wordnet-verbs/run.sh [section.key=value ...]
set -euo pipefail
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_minilm || exit 1
need_data wordnet-verbs-wordpiece
need_data wordnet-verbs-words
run_study wordnet-verbs "${METHODS:-lora head}" "${SEEDS:-1 2 3}" "model.path=$MINILM" "$@"
say
"$PYTHON" experiments/wordnet-verbs/naive_bayes.py "$PEFTSCALE_DATA/wordnet-verbs-words.h5" | tee results/wordnet-verbs/naive_bayes.txt
