#!/bin/bash
# enter.sh HOST WORD...: runs a command line on a host of tests/support/cluster.py, as `ssh HOST WORD...` would: the words are joined and read by a shell there.
# Open MPI starts its daemons with it (plm_rsh_agent). Unlike ssh it keeps the environment, so what is set for mpirun is set on every host.
#
# A host is the network namespace of that name; /etc/hosts comes from /etc/netns/HOST. The name of the machine and, where CLUSTER_MOUNTS (a folder) has a file
# HOST with lines "FILE<tab>PLACE", other contents of some files are given to each command anew, in namespaces that end with it.
set -eu
host=$1
shift
exec ip netns exec "$host" unshare --uts bash -c '
  set -eu
  hostname "$1"
  if [ -f "${CLUSTER_MOUNTS:-}/$1" ]; then
    while IFS=$'"'\t'"' read -r file place; do mount --bind "$file" "$place"; done <"$CLUSTER_MOUNTS/$1"
  fi
  exec bash -c "$2"' enter "$host" "$*"
