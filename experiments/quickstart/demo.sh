#!/bin/bash
# The demonstration: every method on the same task with the same seed, and a table that compares them.
#
# usage: [VARIABLE=value ...] experiments/quickstart/demo.sh      (or: make demo)
#
# A pretrained model, MiniLM-L6, is adapted to WordNet's verb glosses (15 classes) with two MPI ranks. Where its weights cannot be had, a small backbone is
# first pretrained on the noun glosses for about a minute and adapted instead. Writes table.md and table.csv below results/demo.
#
#   DEMO_BACKBONE   auto (default), minilm or own: which of the two
#   DEMO_SECONDS    what all trainings together may take on two cores, about (230); with more methods each trains less, at most 2 epochs
#   DEMO_STEPS      optimiser steps per method, instead of what follows from DEMO_SECONDS
#   DEMO_PRETRAIN_STEPS  the same for the backbone's pretraining (one epoch: 1020)
#   DEMO_RESULTS    where to write (results/demo); run files of an earlier demonstration there are replaced
#   RANKS, PEFTSCALE, PYTHON, PEFTSCALE_ASSETS, PEFTSCALE_DATA, PEFTSCALE_CACHE, PEFTSCALE_OFFLINE, PEFTSCALE_MPIRUN: see experiments/support/common.sh
set -euo pipefail
if [ $# -gt 0 ]; then
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"
  case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

results=${DEMO_RESULTS:-results/demo}
seconds=${DEMO_SECONDS:-230}
backbone=${DEMO_BACKBONE:-auto}
runs=$results/runs
two_epochs=676 # of 10,788 examples in batches of 32
read -r -a methods <<<"$(list_methods)"
[ "${#methods[@]}" -gt 0 ] || fail "$PEFTSCALE lists no methods"
began=$SECONDS

# Milliseconds of a step, from two cores. Only the ratio between the methods matters much: full fine-tuning sends and updates the whole model.
step_ms() {
  case $backbone/$1 in
    minilm/full) say 180 ;;
    minilm/head) say 35 ;;
    minilm/vera | minilm/glora) say 75 ;;
    minilm/*) say 60 ;;
    own/full) say 16 ;;
    *) say 6 ;;
  esac
}

# The same number of steps for all methods; learning rates are each method's own, from configs/method or the study's folder.
choose_steps() {
  local sum=0 method
  for method in "${methods[@]}"; do sum=$((sum + $(step_ms "$method"))); done
  steps=$((seconds * 1000 / sum / 10 * 10))
  if [ "$steps" -gt "$two_epochs" ]; then steps=$two_epochs; fi
  if [ "$steps" -lt 10 ]; then steps=10; fi
  steps=${DEMO_STEPS:-$steps}
}

minutes() { printf '%d:%02d min' $(($1 / 60)) $(($1 % 60)); }

choose_backbone DEMO_BACKBONE

mkdir -p "$runs"
# Runs of another build or length would stand in the table as if they belonged to it.
rm -f -- "$runs"/*.h5 "$runs"/*.h5.partial*

if [ "$backbone" = minilm ]; then
  about="all-MiniLM-L6-v2 (6 layers, 22.7 million numbers)"
  study=experiments/wordnet-verbs
  common=("$study/settings.yaml" "model.path=$MINILM")
else
  need_data wordnet-nouns-words
  need_data wordnet-verbs-words
  about="a backbone of our own (2 layers, 1.5 million numbers)"
  study=experiments/wordnet-backbone
  common=("$study/settings.yaml" "model.path=$results/backbone")
  say
  say "Pretraining the backbone on 65,255 noun glosses, about a minute"
  make_backbone "$results" "${DEMO_PRETRAIN_STEPS:-}"
fi

choose_steps
expected=0
for method in "${methods[@]}"; do expected=$((expected + 5 + steps * $(step_ms "$method") / 1000)); done
say
say "${#methods[@]} methods adapt $about"
say "to WordNet's verb glosses (10,788 training texts, 15 classes): $steps steps of 32 each, $RANKS ranks."
say "Expected: about $(minutes "$expected") on two free cores."

number=0
log_every=$((steps < 4 ? 1 : steps / 4))
for method in "${methods[@]}"; do
  number=$((number + 1))
  say
  say "[$number/${#methods[@]}] $method, about $(minutes $((5 + steps * $(step_ms "$method") / 1000)))"
  own=()
  if [ -f "$study/$method.yaml" ]; then own=("$study/$method.yaml"); fi
  train "${common[@]}" "${own[@]}" "method=$method" seed=1 "train.steps=$steps" "output.dir=$runs" "output.name=$method" "output.log_every=$log_every" \
    || fail "training with method $method failed (status $?)"
done

say
"$PYTHON" -m analysis table "$runs" --out-dir "$results"
say "Run files: $runs. The whole took $(minutes $((SECONDS - began)))."
