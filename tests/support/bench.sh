#!/bin/bash
# Runs the benchmark programs BUILD/bench/bench_*, or one of them. A header line "ranks: 2" in the source runs it under mpirun.
#
# Usage: tests/support/bench.sh BUILD [NAME]
set -u
cd "$(dirname "$0")/../.." || exit 2
build=$1
name=${2:-*}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun=${PEFTSCALE_MPIRUN:-$("${PYTHON:-/usr/bin/python3}" -B experiments/support/launcher.py "$build/peftscale")}
failed=0 found=0
for source in tests/bench/bench_$name.c; do
  program=$build/bench/$(basename "$source" .c)
  [ -x "$program" ] || continue
  found=1
  echo "== $(basename "$program")"
  ranks=$(head -n 10 "$source" | sed -n -E 's,^ *(/\*+|\*|//) *ranks: *([0-9 ]+).*,\2,p' | head -n 1)
  if [ -z "$ranks" ]; then
    "$program" || failed=1
  else
    for n in $ranks; do $mpirun -np "$n" "$program" || failed=1; done
  fi
done
[ $found = 1 ] || echo "no benchmark of this name under tests/bench"
exit $failed
