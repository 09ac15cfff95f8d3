#!/bin/bash
# Pretrains the suite's own small backbone on WordNet's noun glosses, about a minute on two cores.
# usage: experiments/wordnet-backbone/make.sh DIR [STEPS]      writes DIR/backbone and the run file of its training; STEPS instead of one epoch (1020)
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"
need_data wordnet-nouns-words
make_backbone "$@"
