# shellcheck shell=bash
# For the batch scripts of PBS: the program on all ranks of the job, a signal before its time is up, and its requeue. Sourced after ROOT was set to the project's
# folder. The words of the command come in PEFTSCALE_WORDS, since qsub hands none to a script; or behind it, where qsub was given a program (qsub -- train.pbs WORD...).
JOB=${PBS_JOBID:?to be submitted by qsub}
cd "${PBS_O_WORKDIR:?}" || exit 1
# shellcheck source=jobs/support/common.sh
. "$ROOT/jobs/support/common.sh" || exit 1
# shellcheck disable=SC2034 # read by the scripts
if [ $# -gt 0 ]; then WORDS=("$@"); else read -r -a WORDS <<<"${PEFTSCALE_WORDS:-}"; fi
NODES=$(sort -u "$PBS_NODEFILE" | wc -l)

# of NAME: an attribute of this job.
of() { qstat -f "$PBS_JOBID" | sed -n "s/^ *$1 = //p"; }

# launch NODES WORD...: the program on the first so many nodes of the job, or on all ("all"). Returns its exit status.
launch() {
  local count=$1 hosts status
  shift
  [ "$count" != all ] || count=$NODES
  hosts=$(mktemp) || fail "no temporary file"
  awk -v count="$count" '!($0 in chosen) && nodes < count { chosen[$0]; nodes++ } $0 in chosen' "$PBS_NODEFILE" >"$hosts"
  # Words.
  # shellcheck disable=SC2086
  run mpirun ${PEFTSCALE_LAUNCHER_FLAGS:-} --hostfile "$hosts" -np "$(wc -l <"$hosts")" "$PEFTSCALE" "$@"
  status=$?
  rm -f "$hosts"
  return $status
}

# warn_in_time: from now on this script gets SIGUSR1 so many seconds before the job's time is up (PEFTSCALE_SIGNAL_S, 120); PBS itself warns by SIGTERM ten seconds
# before. `qsig -s SIGUSR1 JOB` does the same by hand.
warn_in_time() {
  local limit hours minutes seconds
  limit=$(of Resource_List.walltime)
  [[ $limit =~ ^[0-9]+:[0-9]+:[0-9]+$ ]] || { say "no time limit is known, so nothing is told before it"; return; }
  IFS=: read -r hours minutes seconds <<<"$limit"
  seconds=$((10#$hours * 3600 + 10#$minutes * 60 + 10#$seconds - ${PEFTSCALE_SIGNAL_S:-120}))
  (
    trap 'kill $!' TERM # the script has ended before
    sleep $((seconds > 0 ? seconds : 0)) &
    wait $! && kill -USR1 $$
  ) &
  timer=$!
  trap 'kill "$timer" 2>/dev/null' EXIT
}

# After a stop at a checkpoint.
requeue() {
  local starts
  starts=$(of run_count)
  if [ -n "$terminated" ]; then
    say "stopped at a checkpoint, and not requeued because PBS ended the job; the same command continues it"
  elif [ "${starts:-1}" -gt "$PEFTSCALE_MAX_REQUEUES" ]; then
    say "stopped at a checkpoint, and not requeued: that was done $PEFTSCALE_MAX_REQUEUES times (PEFTSCALE_MAX_REQUEUES); the same command continues it"
  else
    # Said first: the requeue ends this script.
    say "stopped at a checkpoint, to be requeued: number ${starts:-1} of at most $PEFTSCALE_MAX_REQUEUES"
    qrerun "$PBS_JOBID" || say "PBS refuses to requeue; the same command continues it"
  fi
}
