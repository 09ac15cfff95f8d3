#!/bin/bash
# In the place of the program in tests of the batch scripts: every rank appends to STANDIN_LOG what happens to it, and ends as the test wants.
#
#   STANDIN_MS        how long a rank works (200)
#   STANDIN_STATUS    its exit status (0)
#   STANDIN_STOPS     numbers of array tasks (or "job": not of an array) that end with 75 in their first start; "always": everybody in every start
#   STANDIN_EXTRA     names of environment variables whose values are noted
#
# Told by SIGUSR1 or SIGTERM it ends with 75. A line of the log: event, task of the array, rank, number of restarts, host, seconds, text; between tabs.
note() {
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$task" "$rank" "$restarts" "$host" "$EPOCHREALTIME" "$2" >>"$STANDIN_LOG"
}
host=$(hostname) task=${SLURM_ARRAY_TASK_ID:-job} rank=${PMIX_RANK:-0} restarts=${SLURM_RESTART_COUNT:-0}
told=
for name in USR1 TERM; do
  # shellcheck disable=SC2064 # the name of now
  trap "told=$name; note signal $name" $name
done

note start "$*"
for name in ${STANDIN_EXTRA:-}; do note "$name" "${!name-unset}"; done
status=${STANDIN_STATUS:-0}
case " ${STANDIN_STOPS:-} " in
  *" always "*) status=75 ;;
  *" $task "*) [ "$restarts" -gt 0 ] || status=75 ;;
esac
until=$((${EPOCHREALTIME/./} + 1000 * ${STANDIN_MS:-200}))
while [ -z "$told" ] && [ "${EPOCHREALTIME/./}" -lt $until ]; do sleep 0.05; done
if [ -n "$told" ]; then
  status=75
  sleep 0.5 # mpirun ends the others when a first one ends so; ranks of the program agree before they do
fi
note end "$status"
exit "$status"
