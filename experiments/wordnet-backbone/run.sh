#!/bin/bash
# A backbone made from nothing, and what it is worth; see README.md.
# usage: [METHODS="full head"] [SEEDS="1 2 3"] [RANKS=2] experiments/wordnet-backbone/run.sh [section.key=value ...]
set -euo pipefail
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

study=wordnet-backbone
results=results/$study
need_data wordnet-nouns-words
need_data wordnet-verbs-words

say "Pretraining on noun glosses"
make_backbone "$results"

# The control: a head on weights that were never trained, with its own best learning rate.
for seed in ${SEEDS:-1 2 3}; do
  say "[control] head on random weights, seed $seed"
  train "experiments/$study/settings.yaml" "experiments/$study/head-random.yaml" method=head model.init=random "seed=$seed" "output.dir=$results/runs" \
    "output.name=head-random-s$seed" "$@"
done

run_study "$study" "${METHODS:-full head}" "${SEEDS:-1 2 3}" "model.path=$results/backbone" "$@"
