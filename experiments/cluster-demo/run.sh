#!/bin/bash
# What each method saves on slow links: two hosts, four links, every method. Needs root. See README.md.
#
# usage: [VARIABLE=value ...] experiments/cluster-demo/run.sh [section.key=value ...]      (or: make cluster-demo)
#
#   CLUSTER_BACKBONE     auto (default), minilm or own
#   CLUSTER_HOSTS        2; up to 8, one rank on each
#   CLUSTER_LINKS        "unshaped 1gbit 100mbit 10mbit"
#   CLUSTER_METHODS      all that the program lists
#   CLUSTER_STEPS        of a training to the end (one epoch: 337)
#   CLUSTER_EVALUATIONS  how often it is validated (13)
#   CLUSTER_SECONDS      what the timed steps of one method on one link may take, about (30)
#   CLUSTER_ROUNDS       how often all methods and links are timed in turn (2)
#   CLUSTER_SCORE        the validation score asked for, such as 0.6; else half of what full fine-tuning gains over the head alone
#   CLUSTER_RESULTS      where to write (results/cluster-demo); what is there is not done again
#   CLUSTER_PRETRAIN_STEPS  of the suite's own backbone, instead of one epoch
#   PEFTSCALE, PYTHON, PEFTSCALE_ASSETS, PEFTSCALE_DATA, PEFTSCALE_CACHE, PEFTSCALE_OFFLINE: see experiments/support/common.sh
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
unset PEFTSCALE_MPIRUN # the study has its own
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_hosts
backbone=${CLUSTER_BACKBONE:-auto}
results=${CLUSTER_RESULTS:-results/cluster-demo}
choose_backbone CLUSTER_BACKBONE
if [ "$backbone" = minilm ]; then
  study=experiments/wordnet-verbs data=wordnet-verbs-wordpiece model=$MINILM
else
  study=experiments/wordnet-backbone data=wordnet-verbs-words model=$results/backbone
  need_data wordnet-nouns-words
  need_data "$data"
  [ -f "$model/model.safetensors" ] || make_backbone "$results" "${CLUSTER_PRETRAIN_STEPS:-}"
fi

export PEFTSCALE CLUSTER_STUDY=$study CLUSTER_DATA=$data CLUSTER_RESULTS=$results
export CLUSTER_METHODS=${CLUSTER_METHODS:-$(list_methods)}
exec "$PYTHON" "$HOSTS" with "${CLUSTER_HOSTS:-2}" -- "$PYTHON" experiments/cluster-demo/study.py "model.path=$model" "$@"
