#!/bin/bash
# node.sh FOLDER... -- WORD...: becomes the command WORD..., with a /tmp of its own in which only the given folders are seen as on the machine.
# A node of a real cluster has such a /tmp, too; and with a common one Open MPI's start by SLURM (`srun --mpi=pmix`) fails on two nodes.
# Run in a mount namespace that ends with the command (tests/cluster/enter.sh makes one).
set -eu
shared=()
while [ "$1" != -- ]; do
  case $(realpath "$1") in /tmp/*) shared+=("$(realpath "$1")") ;; esac
  shift
done
shift
held=()
for folder in "${shared[@]}"; do
  exec {file}<"$folder" # the new /tmp will hide its name
  held+=("$file")
done
mount -t tmpfs -o mode=1777 tmp /tmp
for i in "${!shared[@]}"; do
  file=${held[i]}
  mkdir -p "${shared[i]}"
  mount --no-canonicalize --bind "/proc/self/fd/$file" "${shared[i]}"
  exec {file}<&-
done
cd "$PWD" 2>/dev/null || cd / # the same folder by its new mount
exec "$@"
