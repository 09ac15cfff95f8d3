#!/bin/bash
# Bytes and times of all-reduces over 2 to 8 hosts, and the model of them. Needs root. See README.md.
#
# usage: [VARIABLE=value ...] experiments/comm-model/run.sh
#
#   MODEL_LINK         of the timed sums (100mbit)
#   MODEL_SIZES        of the timed sums
#   MODEL_REPETITIONS  of each (3)
#   MODEL_MODEL        the model whose methods' messages are summed (minilm-l6)
#   MODEL_RESULTS      where to write (results/comm-model); what is there is not done again
#   PEFTSCALE, PYTHON: see experiments/support/common.sh
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
unset PEFTSCALE_MPIRUN # the study has its own
# shellcheck source=experiments/support/common.sh
. "$(dirname "$0")/../support/common.sh"

need_hosts
results=${MODEL_RESULTS:-results/comm-model}
link=${MODEL_LINK:-100mbit}
model=${MODEL_MODEL:-minilm-l6}
mkdir -p "$results"

# measure NAME LINK ARGUMENTS: a file of `peftscale comm` over eight hosts.
measure() {
  local name=$1 rate=$2
  shift 2
  [ -f "$results/$name.h5" ] && return
  say "$name: sums over 2 to 8 hosts, $rate"
  PEFTSCALE=$PEFTSCALE "$PYTHON" "$HOSTS" with 8 --rate "$rate" -- bash -c \
    "exec \$PEFTSCALE_MPIRUN -np 8 \"\$PEFTSCALE\" comm \"\$@\"" - "$@" --network "$rate" --out "$results/$name.h5" >"$results/$name.txt" 2>"$results/$name.log" ||
    { tail -n 20 "$results/$name.log" >&2; fail "measuring failed"; }
}

# What each method's step puts on the wire: bytes do not depend on the link, so the fastest will do.
measure bytes unshaped --models "$model" --methods all --sizes 1KiB,4KiB --ranks 2,3,4,6,8 --repetitions 3 --seconds 1
# How long sums take where the link decides, and with algorithms whose rounds and bytes are known.
measure times "$link" --rate "$link" --models none --sizes "${MODEL_SIZES:-1MB,1.4MB,2MB,2.8MB,4MB}" --ranks 2,3,4,5,6,7,8 \
  --algorithms mpi,doubling,ring,rabenseifner --repetitions "${MODEL_REPETITIONS:-3}" --seconds 60

say "the model"
"$PYTHON" experiments/comm-model/report.py "$results/bytes.h5" "$results" | tee "$results/bytes.md"
"$PYTHON" -m analysis commfit "$results/times.h5" --payloads "$results/payloads.tsv" --out-dir "$results" --require 15,40
