# shellcheck shell=bash
# What the demonstration and the studies share; sourced by their scripts, which then run in the project's root.
#
# Environment: PEFTSCALE (the program, build/peftscale), PYTHON (one with h5py, /usr/bin/python3), RANKS (2), PEFTSCALE_DATA (prepared data, build/data),
# PEFTSCALE_ASSETS (weights and data sets), PEFTSCALE_CACHE (downloaded weights), PEFTSCALE_OFFLINE=1 (no downloads), PEFTSCALE_MPIRUN (mpirun with its flags).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
PEFTSCALE=${PEFTSCALE:-build/peftscale}
PYTHON=${PYTHON:-/usr/bin/python3}
RANKS=${RANKS:-2}
export PEFTSCALE_DATA=${PEFTSCALE_DATA:-$ROOT/build/data}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

[ -x "$PEFTSCALE" ] || fail "$PEFTSCALE is not there; build it first: make"

# ---- mpirun ----

# A busy-waiting rank needs a core of its own; hardware threads of one core do not count.
count_cores() {
  local allowed physical
  allowed=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  physical=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || physical=0
  if [ "$physical" -gt 0 ] && [ "$physical" -lt "$allowed" ]; then say "$physical"; else say "$allowed"; fi
}

if [ -n "${PEFTSCALE_MPIRUN:-}" ]; then
  read -r -a MPIRUN <<<"$PEFTSCALE_MPIRUN"
elif [ "$(count_cores)" -ge "$RANKS" ]; then
  read -r -a MPIRUN <<<"$("$PYTHON" -B experiments/support/launcher.py "$PEFTSCALE" --bind)"
else
  read -r -a MPIRUN <<<"$("$PYTHON" -B experiments/support/launcher.py "$PEFTSCALE")"
fi
# Open MPI refuses root unless told twice; told only where it is so.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
command -v "${MPIRUN[0]}" >/dev/null || fail "there is no ${MPIRUN[0]} on PATH (Debian: openmpi-bin)"

# mpirun runs beside the script, so that a signal reaches it at once and not after the training.
running=
stop() {
  trap '' INT TERM HUP
  if [ -n "$running" ]; then
    kill -TERM "$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || true
  fi
  printf '\nstopped\n' >&2
  exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP

# run WORD...: a command that is stopped with the script.
run() {
  local code=0
  "$@" &
  running=$!
  wait "$running" || code=$?
  running=
  return "$code"
}

# train ARGUMENTS...: one training with RANKS ranks. The run file's path, last on standard output, is of no use to a reader here.
train() { run "${MPIRUN[@]}" -np "$RANKS" "$PEFTSCALE" train "$@" >/dev/null; }

# All methods that this build knows, in the order of its list.
list_methods() {
  "$PEFTSCALE" list methods --json | "$PYTHON" -c 'import json, sys; print(*(method["name"] for method in json.load(sys.stdin)["methods"]))'
}

# HOSTS: the script that makes several hosts; fails with the reason where it cannot.
need_hosts() {
  local reason
  HOSTS=tests/cluster/hosts.py
  reason=$("$PYTHON" "$HOSTS" check) || fail "several hosts cannot be made here: $reason"
}

# ---- weights and data ----

# MINILM: the directory of MiniLM's weights; status 3 if they cannot be had.
need_minilm() {
  MINILM=$("$PYTHON" experiments/support/get_minilm.py --offline 2>/dev/null) && return 0
  # To download takes pip, which Debian's Python lacks; the project's own environment brings it along.
  [ "${PEFTSCALE_OFFLINE:-0}" != 0 ] || PYTHON=$PYTHON bash tests/support/deps.sh --venv || true
  MINILM=$("$PYTHON" experiments/support/get_minilm.py)
}

# need_data NAME: prepares $PEFTSCALE_DATA/NAME.h5 where it is not there yet. For WordPiece data MINILM must be set, and the `tokenizers` library is needed.
need_data() {
  local name=$1 file=$PEFTSCALE_DATA/$1.h5 python=$PYTHON words
  local -a recipe
  [ -f "$file" ] && return 0
  words=(--tokenizer words --vocabulary-from wordnet-noun wordnet-verb --save-vocabulary "$PEFTSCALE_DATA/wordnet.vocabulary.json")
  case $name in
    wordnet-nouns-words) recipe=(wordnet --part noun "${words[@]}") ;;
    wordnet-verbs-words) recipe=(wordnet --part verb "${words[@]}") ;;
    wordnet-verbs-wordpiece) recipe=(wordnet --part verb --tokenizer "$MINILM") ;;
    trec6-wordpiece | cola-wordpiece | sst2-wordpiece) recipe=("${name%-wordpiece}" --tokenizer "$MINILM") ;;
    *) fail "no recipe for $name" ;;
  esac
  case $name in wordnet-*) recipe+=(--wordnet "$(find_wordnet)") ;; esac
  case $name in
    *-wordpiece)
      PYTHON=$PYTHON bash tests/support/deps.sh --venv || return 3
      python=build/venv/bin/python3
      ;;
  esac
  mkdir -p "$PEFTSCALE_DATA"
  say "Preparing $file"
  "$python" -m experiments.prepare "${recipe[@]}" --out "$file" | sed 's/^/  /'
}

# choose_backbone VARIABLE: settles $backbone (auto, minilm or own, as the user's VARIABLE says) to minilm or own, with what minilm needs at hand.
choose_backbone() {
  case $backbone in
    auto | minilm)
      if need_minilm && need_data wordnet-verbs-wordpiece; then
        backbone=minilm
      elif [ "$backbone" = minilm ]; then
        fail "MiniLM or its tokenizer cannot be had"
      else
        say "MiniLM or its tokenizer cannot be had here, so the suite makes a small backbone of its own."
        backbone=own
      fi
      ;;
    own) ;;
    *) fail "$1=$backbone is none of auto, minilm, own" ;;
  esac
}

# make_backbone DIR [STEPS]: pretrains the suite's own backbone into DIR/backbone, its run file into DIR; STEPS instead of one epoch.
make_backbone() {
  local -a words=(experiments/wordnet-backbone/pretrain.yaml "output.dir=$1" output.name=pretraining "output.export_dir=$1/backbone" output.log_every=200)
  [ -z "${2:-}" ] || words+=("train.steps=$2")
  train "${words[@]}"
}

# Debian's place, or a WordNet that was unpacked elsewhere.
find_wordnet() {
  if [ -n "${WNHOME:-}" ]; then say "$WNHOME/dict"; else say /usr/share/wordnet; fi
}

# ---- studies ----

# run_study DIR "METHODS" "SEEDS" ARGUMENTS...: trains every method with every seed under experiments/DIR/settings.yaml, and METHOD.yaml beside it where there is
# one; then the table. A second start trains again and replaces the run files of the first.
run_study() {
  local study=$1 methods=$2 seeds=$3 method seed number=0 total
  local -a method_words seed_words extra
  shift 3
  read -r -a method_words <<<"$methods"
  read -r -a seed_words <<<"$seeds"
  total=$((${#method_words[@]} * ${#seed_words[@]}))
  for method in "${method_words[@]}"; do
    extra=()
    [ -f "experiments/$study/$method.yaml" ] && extra=("experiments/$study/$method.yaml")
    for seed in "${seed_words[@]}"; do
      number=$((number + 1))
      say "[$number/$total] $method, seed $seed"
      train "experiments/$study/settings.yaml" "${extra[@]}" "method=$method" "seed=$seed" "output.dir=results/$study/runs" "output.name=$method-s$seed" "$@"
    done
  done
  "$PYTHON" -m analysis table "results/$study/runs" --out-dir "results/$study"
}
