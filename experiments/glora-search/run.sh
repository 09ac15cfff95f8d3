#!/bin/bash
# A GLoRA super-network and the search for its best path, see README.md.
#
# usage: [VARIABLE=value ...] experiments/glora-search/run.sh [section.key=value ...]      (words for the training)
#
#   BACKBONE   auto (default), minilm or own: MiniLM, or the small one that the suite pretrains itself where MiniLM cannot be had
#   SEARCH     flags of the search, instead of the study's
#   SEED       1
#   RANKS, PEFTSCALE, PYTHON, PEFTSCALE_ASSETS, PEFTSCALE_DATA, PEFTSCALE_MPIRUN: see experiments/support/common.sh
set -euo pipefail
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

study=experiments/glora-search
backbone=${BACKBONE:-auto}
seed=${SEED:-1}

choose_backbone BACKBONE

results=results/glora-search/$backbone
if [ "$backbone" = minilm ]; then
  common=("$study/settings.yaml" "model.path=$MINILM")
  flags=(--by loss --population 24 --generations 4 --parents 6 --random 16)
else
  need_data wordnet-nouns-words
  need_data wordnet-verbs-words
  common=("$study/settings.yaml" "$study/own.yaml" "model.path=$results/backbone")
  flags=(--by loss --generations 10)
  if [ ! -f "$results/backbone/model.safetensors" ]; then
    say "Pretraining the backbone on noun glosses"
    train experiments/wordnet-backbone/pretrain.yaml "output.dir=$results" output.name=pretraining "output.export_dir=$results/backbone" output.log_every=200
  fi
fi
[ -z "${SEARCH:-}" ] || read -r -a flags <<<"$SEARCH"

say
say "Training the super-network, seed $seed"
train "${common[@]}" "seed=$seed" "output.dir=$results" "output.name=super-s$seed" output.log_every=200 "$@"

# Beside the script, like a training, so that a signal reaches it at once.
say
say "Searching its paths"
"${MPIRUN[@]}" -np "$RANKS" "$PEFTSCALE" search "$results/super-s$seed.h5" "${flags[@]}" --out "$results/paths-s$seed.tsv" >"$results/search-s$seed.txt" &
running=$!
code=0
wait "$running" || code=$?
running=
[ "$code" = 0 ] || fail "the search failed (status $code)"
say
cat "$results/search-s$seed.txt"
