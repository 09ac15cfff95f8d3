# shellcheck shell=bash
# For the batch scripts of SLURM: the program on all ranks of the job, and its requeue. Sourced after ROOT was set to the project's folder.
JOB=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID} # a number alone may mean all tasks of an array
JOB=${JOB:-${SLURM_JOB_ID:?to be submitted by sbatch}}
# shellcheck source=jobs/support/common.sh
. "$ROOT/jobs/support/common.sh" || exit 1

# srun does not take this over from sbatch by itself since SLURM 22.05.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
NODES=$SLURM_JOB_NUM_NODES
TASKS_PER_NODE=${SLURM_NTASKS_PER_NODE:-$((${SLURM_NTASKS:-$NODES} / NODES))}

# launch NODES WORD...: the program on the first so many nodes of the job, or on all ("all"). Returns its exit status.
launch() {
  local words part=()
  case ${PEFTSCALE_LAUNCHER:-srun} in
    srun)
      # When one rank dies the rest is ended after a minute; not at once, since a first one to end well may be waiting for nobody.
      words=(srun --mpi=pmix --kill-on-bad-exit=0 --wait=60)
      [ "$1" = all ] || part=(--nodes="$1" --ntasks=$(($1 * TASKS_PER_NODE)))
      ;;
    mpirun)
      words=(mpirun)
      [ "$1" = all ] || part=(-np $(($1 * TASKS_PER_NODE)))
      ;;
    *) fail "PEFTSCALE_LAUNCHER is srun or mpirun, not '$PEFTSCALE_LAUNCHER'" ;;
  esac
  shift
  # Words.
  # shellcheck disable=SC2086
  run "${words[@]}" ${PEFTSCALE_LAUNCHER_FLAGS:-} "${part[@]}" "$PEFTSCALE" "$@"
}

# After a stop at a checkpoint. Only a job that runs, or whose time is up, is continued: one that was cancelled stays cancelled, one that was pre-empted is
# requeued by SLURM if at all.
requeue() {
  local restarts=${SLURM_RESTART_COUNT:-0} state
  state=$(scontrol --oneliner show job "$JOB") || state=" JobState=RUNNING " # the requeue will say what is wrong
  case $state in
    *" JobState=RUNNING "* | *" JobState=COMPLETING Reason=TimeLimit "*) ;;
    *)
      say "stopped at a checkpoint, and not requeued because the job was cancelled (a pre-empted one is SLURM's to requeue); the same command continues it"
      return
      ;;
  esac
  if [ "$restarts" -ge "$PEFTSCALE_MAX_REQUEUES" ]; then
    say "stopped at a checkpoint, and not requeued: that was done $restarts times (PEFTSCALE_MAX_REQUEUES=$PEFTSCALE_MAX_REQUEUES); the same command continues it"
    return
  fi
  # Said first: the requeue ends this script.
  say "stopped at a checkpoint, to be requeued: number $((restarts + 1)) of at most $PEFTSCALE_MAX_REQUEUES"
  scontrol requeue "$JOB" || say "SLURM refuses to requeue; the same command continues it"
}
