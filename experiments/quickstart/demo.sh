#!/bin/bash
# The demonstration: all ten methods on one task with three seeds, a table that compares them, and a report to be opened in a browser.
#
# usage: [VARIABLE=value ...] experiments/quickstart/demo.sh [section.key=value ...]      (or: make demo)
#
# A pretrained model, MiniLM-L6, is adapted to WordNet's verb glosses (15 classes) with two MPI ranks (minilm.yaml). Where its weights cannot be had, a small
# backbone is first pretrained on the noun glosses for about a minute, and each method tunes its learning rate (study.yaml). What is done already is not done
# again, unless other sources of the program made it. Writes results/quickstart: report.html, table.md, table.csv and more.
#
#   DEMO_BACKBONE   auto (default), minilm or own: which of the two
#   DEMO_STEPS      optimiser steps of every training, instead of what the studies say
#   DEMO_RESULTS    where to write (results/quickstart)
#   RANKS, PEFTSCALE, PYTHON, PEFTSCALE_ASSETS, PEFTSCALE_DATA, PEFTSCALE_CACHE, PEFTSCALE_OFFLINE, PEFTSCALE_MPIRUN: see experiments/support/common.sh
set -euo pipefail
case ${1:-} in -h | --help)
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"
  exit 0
  ;;
esac
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

results=${DEMO_RESULTS:-results/quickstart}
backbone=${DEMO_BACKBONE:-auto}
words=("ranks=$RANKS" ${DEMO_STEPS:+"train.steps=$DEMO_STEPS"} "$@")
began=$SECONDS

minutes() { printf '%d:%02d min' $(($1 / 60)) $(($1 % 60)); }

choose_backbone DEMO_BACKBONE
say
if [ "$backbone" = minilm ]; then
  study=experiments/quickstart/minilm.yaml
  say "All methods adapt all-MiniLM-L6-v2 (22.7 million numbers) to WordNet's verb glosses"
  say "(10,788 training texts, 15 classes): 30 short trainings, about five minutes on two free cores."
else
  need_data wordnet-verbs-words
  study=experiments/quickstart/study.yaml
  say "The suite pretrains a backbone of its own (1.5 million numbers), about a minute, and all methods adapt it to"
  say "WordNet's verb glosses (10,788 training texts, 15 classes): 60 trainings, about five minutes on two free cores."
fi

# What an older build made would count as done, and stand beside what this one makes.
"$PEFTSCALE" sweep retry "$study" "${words[@]}" --results "$results" --stale >/dev/null
run "$PEFTSCALE" sweep run "$study" "${words[@]}" --results "$results" --no-table || fail "some trainings have no result (status $?): $PEFTSCALE sweep status $study ${words[*]} --results $results"
say
"$PYTHON" -m analysis table --study "$results" --curves --out-dir "$results"
"$PYTHON" -m analysis report --study "$results"
say "The whole took $(minutes $((SECONDS - began)))."
