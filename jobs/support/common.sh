# shellcheck shell=bash
# What all batch scripts share: settings, and the program on all ranks with the job's signals passed on. Sourced by slurm.sh and pbs.sh; ../README.md explains
# the variables.

# The program stopped at a checkpoint and wants to be continued.
STOPPED=75

say() { printf '%(%F %T)T job %s: %s\n' -1 "$JOB" "$*"; }
fail() {
  say "$*" >&2
  exit 1
}

if [ -z "${PEFTSCALE:-}" ]; then
  PEFTSCALE=$ROOT/build/peftscale
  [ -x "$PEFTSCALE" ] || [ ! -x "$ROOT/../../bin/peftscale" ] || PEFTSCALE=$ROOT/../../bin/peftscale # where `make install` puts it
fi
PEFTSCALE_MAX_REQUEUES=${PEFTSCALE_MAX_REQUEUES:-50}

if [ -n "${PEFTSCALE_MODULES:-}" ]; then
  # A batch shell reads no profile.
  for file in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh; do
    # shellcheck disable=SC1090 # the site's own
    type module >/dev/null 2>&1 || { [ -r "$file" ] && . "$file"; }
  done
  type module >/dev/null 2>&1 || fail "PEFTSCALE_MODULES is set, but there is no command 'module' here"
  # Words, one for each module.
  # shellcheck disable=SC2086
  module load $PEFTSCALE_MODULES || fail "module load $PEFTSCALE_MODULES failed"
fi
read -r -d '' -a assignments <<<"${PEFTSCALE_ENVIRONMENT:-}"
for word in "${assignments[@]}"; do
  [[ $word =~ ^[A-Za-z_][A-Za-z_0-9]*= ]] || fail "PEFTSCALE_ENVIRONMENT: '$word' is not NAME=VALUE"
  export "${word?}"
done
if [ -n "${PEFTSCALE_INTERFACE:-}" ]; then
  export OMPI_MCA_btl_tcp_if_include=$PEFTSCALE_INTERFACE OMPI_MCA_oob_tcp_if_include=$PEFTSCALE_INTERFACE
fi
[ -x "$PEFTSCALE" ] || fail "there is no program $PEFTSCALE: build it (make), or set PEFTSCALE"
# The program looks in the folder it is started in and beside itself; a build of its own may lie elsewhere.
if [ -z "${PEFTSCALE_CONFIGS:-}" ] && [ ! -r configs/base.yaml ] && [ -r "$ROOT/configs/base.yaml" ]; then
  export PEFTSCALE_CONFIGS=$ROOT/configs
fi

# run WORD...: a command to its end, and its exit status. It runs beside this script, so that a signal is passed on at once and not when it has ended.
# SIGTERM goes on as SIGUSR1, which asks the program for the same; mpirun would end it at once.
running=
# shellcheck disable=SC2034 # read by pbs.sh
terminated= # by SIGTERM
pass_on() { [ -z "$running" ] || kill -USR1 "$running" 2>/dev/null; }
trap pass_on USR1
trap 'terminated=1; pass_on' TERM
run() {
  local status
  "$@" &
  running=$!
  while
    wait "$running"
    status=$?
    [ $status -gt 128 ] && kill -0 "$running" 2>/dev/null # a signal interrupted the waiting alone
  do :; done
  # Once more: the end may have come between the two.
  wait "$running" 2>/dev/null && status=0 || status=$?
  running=
  return $status
}

# finish STATUS: the end of the job, by the exit status of its program. Never returns.
finish() {
  case $1 in
    0) say "done" ;;
    "$STOPPED") requeue ;; # of slurm.sh or pbs.sh
    *) say "failed with exit status $1" ;;
  esac
  exit "$1"
}

# over_nodes NUMBER WORD...: `peftscale comm WORD...` on 1, 2, 4, 8 ... and on all nodes, into one file each, whose name holds the job's number. Never returns.
over_nodes() {
  local job=$1 count file worst=0
  local folder=${PEFTSCALE_COMM_DIR:-results/comm}
  shift
  mkdir -p "$folder" || fail "cannot make the folder $folder"
  for ((count = 1; count < 2 * NODES; count *= 2)); do
    [ "$count" -lt "$NODES" ] || count=$NODES # all of them, also where that is no power of two
    file=$folder/comm-$job-${count}nodes.h5
    say "$count of $NODES nodes: $file"
    launch "$count" comm --out "$file" "$@" || worst=$?
  done
  finish $worst
}

# make_table [WORD... --] WORD...: `python3 -m analysis table WORD...`, by a Python that can read the files; before it, if there are words before a "--",
# `peftscale sweep status WORD...`, which brings the index of a study's results up to date. Never returns.
make_table() {
  local python study=()
  if [[ " $* " == *" -- "* ]]; then
    while [ "$1" != -- ]; do
      study+=("$1")
      shift
    done
    shift
    run "$PEFTSCALE" sweep status "${study[@]}" # not 0 where a run has no result: the table says so, too
  fi
  for python in ${PYTHON:+"$PYTHON"} python3 /usr/bin/python3; do
    "$python" -c 'import h5py' 2>/dev/null || continue
    PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} run "$python" -m analysis table "$@"
    finish $?
  done
  fail "no Python with h5py was found; set PYTHON to one"
}
