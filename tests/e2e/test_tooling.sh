#!/bin/bash
# timeout: 600
# The tools themselves: the check for dependencies, the layers, the test runner, make help and make install. Works in a copy with small sources of its own.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHON=${PYTHON:-/usr/bin/python3}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0
output=

# expect CODE WHAT COMMAND...: runs it, keeps its output, compares the exit code.
expect() {
  local want=$1 what=$2 got
  shift 2
  output=$("$@" 2>&1)
  got=$?
  if [ "$want" != "$got" ]; then
    echo "FAIL: $what: exit code $got, not $want"
    printf '%s\n' "$output" | tail -n 20 | sed 's/^/    /'
    failures=$((failures + 1))
  fi
}
says() { # says WHAT PATTERN: the last output has a line like this
  if ! printf '%s\n' "$output" | grep -qE -e "$2"; then
    echo "FAIL: $1: nothing like '$2' in:"
    printf '%s\n' "$output" | tail -n 20 | sed 's/^/    /'
    failures=$((failures + 1))
  fi
}
says_not() {
  if printf '%s\n' "$output" | grep -qE -e "$2"; then
    echo "FAIL: $1: '$2' should not be in:"
    printf '%s\n' "$output" | grep -E -e "$2" | head -n 5 | sed 's/^/    /'
    failures=$((failures + 1))
  fi
}

# The real run's settings would hide what is tested here.
unset CI PEFTSCALE_NO_SKIP PEFTSCALE_SKIP_DEPS PEFTSCALE_ASSETS PEFTSCALE_VENV PEFTSCALE_ORACLE HDF5_DIR OPENBLAS_DIR WNHOME CMOCKA_MESSAGE_OUTPUT

# ---- layers ----

expect 0 "the project keeps to its layers" bash "$root/tests/support/layers.sh" "$root"

layers="$work/layers"
plant() { # plant FILE LINE...: a source in the tree that layers.sh is to judge
  mkdir -p "$layers/$(dirname "$1")"
  printf '%s\n' "${@:2}" >"$layers/$1"
}
fresh() {
  rm -rf "$layers"
  plant src/method/list.h 'METHOD(method_lora)' 'METHOD(method_vb_lora)' 'METHOD(method_head)'
  plant src/base/error.h '/* nothing */'
  plant src/linalg/product.c '#include <cblas.h>' '#include "base/error.h"' '#include "linalg/linalg.h"'
  plant src/comm/comm.h '#include "base/error.h"'
  plant src/comm/internal.h '#include <mpi.h>'
  plant src/comm/comm.c '#include "comm/internal.h"' 'const char *s = "exit(1)"; /* abort(); */' 'void on_exit_do(void); // exit(2)'
  plant src/model/model.c '#include "method/list.h"' '/* LoRA may' '   sit here */ int head; const char *s = "exploration of full colour";'
  plant src/store/file.c '#include <hdf5.h>'
  plant src/train/step.c '#include "comm/comm.h"' '#include "model/model.h"'
  plant src/cmd/train.c '#include "train/run.h"' '#include <stdlib.h>' 'void f(void) { exit(2); }'
  plant src/main.c '#include <mpi.h>' '#include "cmd/train.h"'
  plant analysis/__main__.py 'from .load import options' 'from .common.fault import Fault'
  plant analysis/load/options.py 'import argparse' 'from .allowed import ALLOWED' 'def f():' '    import h5py'
  plant analysis/load/allowed.py 'import re'
  plant analysis/stats/ranks.py 'import numpy' 'from ..load.runs import Run' 'from ..common import text' 'from .groups import letters'
  plant analysis/plots/verb.py 'from ..comm.figures import make' 'from ..tables.build import groups'
}
fresh
expect 0 "a tree in order" bash "$root/tests/support/layers.sh" "$layers"

refused() { # refused PLACE FILE LINE...: with this source planted, PLACE (FILE:LINE) is reported
  fresh
  plant "${@:2}"
  expect 1 "planted in $2: ${*:3}" bash "$root/tests/support/layers.sh" "$layers"
  says "planted in $2" "^$1: "
}
refused src/base/x.c:2 src/base/x.c '' '#include "linalg/linalg.h"'
refused src/linalg/x.c:1 src/linalg/x.c '#include "method/method.h"'
refused src/method/x.h:1 src/method/x.h '#include "model/model.h"'
refused src/model/x.c:1 src/model/x.c '#include "store/safetensors.h"'
refused src/data/x.c:1 src/data/x.c '#include "store/file.h"'
refused src/train/x.c:1 src/train/x.c '#include "cmd/train.h"'
refused src/train/x.c:1 src/train/x.c '#include <mpi.h>'
refused src/train/x.c:1 src/train/x.c '#  include "hdf5.h"'
refused src/cmd/x.c:1 src/cmd/x.c '#include <hdf5.h>'
refused src/method/x.c:1 src/method/x.c '#include <cblas.h>'
refused src/main.c:1 src/main.c '#include <cblas.h>'
refused src/model/x.c:1 src/model/x.c '#include <oneapi/dnnl/dnnl.h>'
refused src/train/x.c:3 src/train/x.c '/* by way of' '   a header */' '#include "comm/internal.h"'
refused src/model/x.c:1 src/model/x.c '#include "../store/file.h"'
refused src/model/x.c:1 src/model/x.c '#include <base/error.h>'
refused src/model/x.c:1 src/model/x.c 'if (!strcmp(name, "lora")) return;'
refused src/model/x.c:2 src/model/x.c '' 'use(&method_head);'
refused src/model/x.c:1 src/model/x.c 'int vb_lora_bank;'
refused src/store/x.c:1 src/store/x.c 'if (bad) exit (1);'
refused src/base/x.c:2 src/base/x.c '/* a comment */' 'abort();'
refused src/extra/x.c:1 src/extra/x.c 'int x;'
refused analysis/load/x.py:2 analysis/load/x.py '' 'from ..stats import compare'
refused analysis/load/x.py:2 analysis/load/x.py 'def f():' '    from ..stats import compare'
refused analysis/load/x.py:1 analysis/load/x.py 'import analysis.plots.make'
refused analysis/stats/x.py:1 analysis/stats/x.py 'from .. import tables'
refused analysis/plots/x.py:1 analysis/plots/x.py 'from ..comm import figures'
refused analysis/report/verb.py:1 analysis/report/verb.py 'from ..tables.verb import read'
refused analysis/__main__.py:1 analysis/__main__.py 'from .load.runs import Run'
refused analysis/load/allowed.py:2 analysis/load/allowed.py '' 'import numpy as np'
refused analysis/extra/x.py:1 analysis/extra/x.py 'x = 1'

# ---- the test runner ----

tree="$work/runner"
program() { # program PATH-IN-BUILD LINE...: a shell script in the place of a test program
  mkdir -p "$tree/build/$(dirname "$1")"
  printf '%s\n' '#!/bin/sh' "${@:2}" >"$tree/build/$1"
  chmod +x "$tree/build/$1"
}
source_file() {
  mkdir -p "$tree/tests/$(dirname "$1")"
  printf '%s\n' "${@:2}" >"$tree/tests/$1"
}
run() { "$PYTHON" "$root/tests/support/run_tests.py" --root "$tree" --build "$tree/build" "$@"; }
last() { # last WHAT TEXT: the very last line
  if [ "$(printf '%s\n' "$output" | tail -n 1)" != "$2" ]; then
    echo "FAIL: $1: the last line is not '$2':"
    printf '%s\n' "$output" | tail -n 20 | sed 's/^/    /'
    failures=$((failures + 1))
  fi
}

source_file unit/test_good.c '/* two cases */'
program tests/unit/test_good 'echo 1..2; echo "ok 1 - a"; echo "ok 2 - b"'
source_file e2e/test_good.sh 'test -n "$PEFTSCALE" && test "$PWD" = '"'$tree'"
expect 0 "all tests pass" run
last "all tests pass" "3 passed, 0 failed, 0 skipped"
says "a line per test with its time" '^ok +unit/test_good +[0-9.]+ s +2 passed$'

source_file unit/test_skips.c '/* one of two */'
program tests/unit/test_skips 'echo 1..2; echo "ok 1 - a"; echo "no such device"; echo "not ok 2 # SKIP b"'
source_file e2e/test_skips.sh 'echo first; echo "nothing to test with"; exit 77'
expect 0 "some are skipped" run
last "some are skipped" "4 passed, 0 failed, 2 skipped"
says "reason of a skipped case" 'unit/test_skips: b: no such device'
says "reason of a skipped script" 'e2e/test_skips.sh: nothing to test with'
expect 1 "skipping fails in CI" env CI=true "$PYTHON" "$root/tests/support/run_tests.py" --root "$tree"
last "skipping fails in CI" "4 passed, 0 failed, 2 skipped"
expect 1 "skipping fails on request" env PEFTSCALE_NO_SKIP=1 "$PYTHON" "$root/tests/support/run_tests.py" --root "$tree"

source_file unit/test_bad.c '/* one of three fails */'
program tests/unit/test_bad 'echo 1..3; echo "ok 1 - a"; echo "not ok 2 - b"; echo "# 1 != 2"; echo "ok 3 - c"; exit 1'
expect 1 "one fails" run unit
last "one fails" "5 passed, 1 failed, 1 skipped"
says "output of the failure" '\| # 1 != 2'

program tests/unit/test_bad 'echo 1..3; echo "ok 1 - a"; kill -SEGV $$'
expect 1 "one crashes" run unit
last "one crashes" "4 passed, 2 failed, 1 skipped"
says "how it crashed" '2 of 3 cases not reached: killed by SIGSEGV'
program tests/unit/test_bad 'kill -ABRT $$'
expect 1 "one crashes before its first word" run unit
last "one crashes before its first word" "3 passed, 1 failed, 1 skipped"
program tests/unit/test_bad 'echo 1..1; echo "ok 1 - a"; exit 3'
expect 1 "a bad exit though all cases passed" run unit
last "a bad exit though all cases passed" "4 passed, 1 failed, 1 skipped"
rm "$tree/build/tests/unit/test_bad"
expect 1 "a test was not built" run unit
says "a test was not built" 'has not been built'
rm "$tree/tests/unit/test_bad.c"

source_file e2e/test_slow.sh '# timeout: 1' 'sleep 60'
expect 1 "one hangs" run --only slow
says "one hangs" 'ran out of time'
last "one hangs" "0 passed, 1 failed, 0 skipped"
rm "$tree/tests/e2e/test_slow.sh"

# A stand-in for mpirun says how it was called.
source_file mpi/test_ranks.c '/* ranks: 1 3 */' '/* needs: long */'
program tests/mpi/test_ranks 'exit 0'
printf '%s\n' '#!/bin/sh' 'test "$1" = -np && test "$2" != 3' >"$work/mpirun"
chmod +x "$work/mpirun"
expect 1 "nothing was run" run mpi
says "what needs more is named" 'mpi/test_ranks -np 3: needs long'
expect 1 "once per rank count" env PEFTSCALE_MPIRUN="$work/mpirun" "$PYTHON" "$root/tests/support/run_tests.py" --root "$tree" --all mpi
last "once per rank count" "1 passed, 1 failed, 0 skipped"
source_file e2e/test_assets.sh '# needs: assets' 'exit 0'
expect 0 "what needs assets is skipped without" run --all --only assets
says "what needs assets is skipped without" 'needs assets: PEFTSCALE_ASSETS'
source_file e2e/test_oracle.sh '# needs: oracle' 'test -x "$PEFTSCALE_ORACLE/bin/python3"'
expect 0 "what needs oracle is skipped without" run --all --only oracle
says "what needs oracle is skipped without" 'needs oracle: build/oracle-venv'
program oracle-venv/bin/python3 'exit 0'
expect 0 "what needs oracle is told where" run --all --only oracle
last "what needs oracle is told where" "1 passed, 0 failed, 0 skipped"
source_file e2e/test_queue.sh '# needs: slurm' 'exit 0'
mkdir "$work/no-pmix" && printf '%s\n' '#!/bin/sh' 'echo none' >"$work/no-pmix/srun" && chmod +x "$work/no-pmix/srun"
expect 0 "what needs SLURM is skipped without" env PATH="$work/no-pmix:$PATH" "$PYTHON" "$root/tests/support/run_tests.py" --root "$tree" --all --only queue
last "what needs SLURM is skipped without" "0 passed, 0 failed, 1 skipped"
says "what needs SLURM is skipped without" 'needs slurm: needs '
source_file e2e/test_typo.sh '# needs: asets' 'exit 0'
expect 1 "an unknown need" run --only typo
says "an unknown need" 'unknown need: asets'

# ---- dependencies, make ----

copy="$work/copy"
mkdir -p "$copy/src/base" "$copy/src/store" "$copy/tests/support"
cp "$root/Makefile" "$root/LICENSE" "$root/CITATION.cff" "$copy"
cp "$root"/tests/support/*.sh "$root"/tests/support/*.py "$copy/tests/support"
mkdir -p "$copy/configs/method" "$copy/experiments/prepare" "$copy/experiments/support" "$copy/analysis" "$copy/jobs/support"
echo 'echo' >"$copy/jobs/support/common.sh"
cp "$root/experiments/support/launcher.py" "$copy/experiments/support"
echo 'rank: 8' >"$copy/configs/method/lora.yaml"
echo 'pass' >"$copy/experiments/prepare/__main__.py"
printf '%s\n' 'int twice(int x);' >"$copy/src/base/twice.h"
printf '%s\n' '#include "base/twice.h"' 'int twice(int x) { return 2 * x; }' >"$copy/src/base/twice.c"
printf '%s\n' 'const char *const provenance[] = {PEFTSCALE_VERSION, PEFTSCALE_COMMIT, PEFTSCALE_DIRTY, PEFTSCALE_COMPILER, PEFTSCALE_CFLAGS};' \
  >"$copy/src/store/provenance.c"
printf '%s\n' '#include "base/twice.h"' 'int main(void) { return twice(0); }' >"$copy/src/main.c"
in_copy() { (cd "$copy" && env -u MAKEFLAGS -u MAKELEVEL "$@"); }

no_install() { in_copy env PEFTSCALE_NO_INSTALL=1 "$@"; }
expect 0 "everything is there" no_install bash tests/support/deps.sh
start=$(date +%s%N)
expect 0 "everything is there, again" no_install bash tests/support/deps.sh
took_ms=$((($(date +%s%N) - start) / 1000000))
[ $took_ms -lt 1000 ] || { echo "FAIL: the second check took $took_ms ms"; failures=$((failures + 1)); }

expect 1 "HDF5 is missing" no_install env HDF5_DIR=/nonexistent bash tests/support/deps.sh
says "HDF5 is missing" 'apt-get install libhdf5-dev$'
says "HDF5 is missing, Spack" 'spack install hdf5~mpi'
says "HDF5 is missing, modules" 'module load HDF5'
expect 1 "Python and WordNet are missing" no_install env PYTHON=/nonexistent/python3 WNHOME=/nonexistent bash tests/support/deps.sh
says "Python and WordNet are missing" 'missing: python3-h5py python3-pandas python3-scipy python3-matplotlib python3-yaml python3-rich python3-jinja2 python3-venv wordnet-base$'
# No pkg-config, no mpirun, no apt-get: only some programs are on PATH.
mkdir "$work/bin"
for tool in bash sh env cat make gcc mpicc cc as ld awk sed grep find sort head tr cksum stat mktemp mkdir rm ls id dirname printf git h5clear h5dump h5cc; do
  path=$(type -P "$tool") && ln -s "$path" "$work/bin/$tool"
done
expect 1 "neither pkg-config nor mpirun" in_copy env PATH="$work/bin" bash tests/support/deps.sh
says "neither pkg-config nor mpirun" 'missing: pkg-config openmpi-bin( |$)'
# Stand-ins for apt-get, sudo and id write down what they are asked to do; WordNet stays missing, so the check fails in the end.
fakes="$work/fakes"
mkdir "$fakes"
printf '%s\n' '#!/bin/sh' "echo apt-get \$DEBIAN_FRONTEND \"\$@\" >>$work/calls" >"$fakes/apt-get"
printf '%s\n' '#!/bin/sh' "echo sudo \"\$@\" >>$work/calls" 'while [ "$1" = -n ]; do shift; done' 'exec "$@"' >"$fakes/sudo"
printf '%s\n' '#!/bin/sh' 'echo ${FAKE_ID:-0}' >"$fakes/id"
# A package that takes over mpirun, as a second MPI may, and leaves mpicc alone.
printf '%s\n' '#!/bin/sh' 'case "$1 $2" in' '"--query mpi") echo "Value: /bin/cat" ;;' \
  '"--query mpirun") if grep -q install "$0.calls"; then echo "Value: /bin/ls"; else echo "Value: /bin/sh"; fi ;;' \
  '--set*) echo update-alternatives "$@" >>"$0.calls" ;;' 'esac' >"$fakes/update-alternatives"
chmod +x "$fakes"/*
ln -s "$work/calls" "$fakes/update-alternatives.calls"
without_wordnet() { : >"$work/calls"; in_copy env -u PEFTSCALE_NO_INSTALL PATH="$fakes:$PATH" WNHOME=/nonexistent "$@" bash tests/support/deps.sh </dev/null; }
expect 1 "installing as root" without_wordnet
says "installing as root" 'installing with apt-get: wordnet-base$'
output=$(cat "$work/calls")
says "lists first" 'apt-get noninteractive .*update$'
says "installing the missing alone" 'apt-get noninteractive .*install -y --no-install-recommends wordnet-base$'
says_not "installing as root" 'sudo'
says "the default MPI stays" '^update-alternatives --set mpirun /bin/sh$'
says_not "the default MPI stays" 'set mpi '
expect 1 "installing through sudo" without_wordnet FAKE_ID=1000
says "installing through sudo, said before" 'installing with sudo -n apt-get: wordnet-base$'
output=$(cat "$work/calls")
says "installing through sudo" '^sudo -n env DEBIAN_FRONTEND=noninteractive apt-get .*install .*wordnet-base$'
expect 1 "never with PEFTSCALE_NO_INSTALL=1" without_wordnet PEFTSCALE_NO_INSTALL=1
output=$(cat "$work/calls")
says_not "never with PEFTSCALE_NO_INSTALL=1" 'apt-get'

expect 2 "make test stops there" no_install env WNHOME=/nonexistent make test
says "make test stops there" 'apt-get install wordnet-base$'
says_not "make test stops there" 'libpeftscale'
expect 0 "the check can be left out" no_install env WNHOME=/nonexistent PEFTSCALE_SKIP_DEPS=1 bash tests/support/deps.sh

expect 0 "make" in_copy make -j2
says "make" 'LINK +build/peftscale'
expect 0 "make, nothing to do" in_copy make
[ -z "$output" ] || { echo "FAIL: a second make did: $output"; failures=$((failures + 1)); }
expect 0 "another commit" in_copy make COMMIT=0123456789
says "another commit" 'CC +src/store/provenance.c'
says_not "another commit" 'CC +src/base'
expect 0 "another processor level" in_copy make COMMIT=0123456789 MARCH=x86-64-v2
says "another processor level" 'CC +src/base/twice.c'
rm "$copy/src/main.c" && printf '%s\n' 'int half(int x) { return x / 2; }' >"$copy/src/base/half.c" && rm "$copy/src/base/twice.c"
expect 0 "sources come and go" in_copy make
expect 0 "sources come and go" ar t "$copy/build/libpeftscale.a"
says "a new source is in the library" '^half.o$'
says_not "a deleted source has left the library" '^twice.o$'
printf '%s\n' 'int main(void) { return 0; }' >"$copy/src/main.c"
expect 2 "the serial OpenBLAS is refused" in_copy make BLAS_LIBS=-L/usr/lib/openblas-serial
says "the serial OpenBLAS is refused" 'not thread-safe'

expect 0 "make help" in_copy make help
for word in all test test-all unit oracle demo cluster-demo bench tables layers install uninstall deps clean distclean format help CC MARCH SANITIZE PREFIX OPENBLAS_DIR; do
  says "make help" "^  $word +[^ ]"
done
expect 0 "make -n install" in_copy make -n install DESTDIR="$work/stage" PREFIX=/opt/peftscale
says "make -n install" "install -m 755 .*$work/stage/opt/peftscale/bin/peftscale"
[ ! -e "$work/stage" ] || { echo "FAIL: make -n install made $work/stage"; failures=$((failures + 1)); }
expect 0 "make install" in_copy make install DESTDIR="$work/stage" PREFIX=/opt/peftscale
for file in bin/peftscale lib/libpeftscale.a include/peftscale/base/twice.h share/peftscale/configs/method/lora.yaml \
  share/peftscale/experiments/prepare/__main__.py share/peftscale/jobs/support/common.sh; do
  [ -f "$work/stage/opt/peftscale/$file" ] || { echo "FAIL: not installed: $file"; failures=$((failures + 1)); }
done
expect 0 "make uninstall" in_copy make uninstall DESTDIR="$work/stage" PREFIX=/opt/peftscale
left=$(find "$work/stage" -type f)
[ -z "$left" ] || { echo "FAIL: left behind by uninstall: $left"; failures=$((failures + 1)); }
expect 0 "make distclean" in_copy make distclean
[ ! -e "$copy/build" ] || { echo "FAIL: distclean left build"; failures=$((failures + 1)); }

if [ $failures -gt 0 ]; then
  echo "$failures checks failed"
  exit 1
fi
echo "all checks passed"
