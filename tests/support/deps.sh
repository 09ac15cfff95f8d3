#!/bin/bash
# Sees to what the project needs on this machine.
#
# Usage: tests/support/deps.sh [--all] [--venv] [--oracle]
#   (nothing)  what building, testing and the demonstration need
#   --all      also what only `make test-all` needs
#   --venv     only: make build/venv, a Python with the tokenizers package; exit 3 if that package cannot be had
#   --oracle   only: make build/oracle-venv, a Python with what tests/oracle/requirements.txt names; exit 3 likewise
#
# Each thing is tried, not looked up: headers are compiled with the flags that the Makefile found, libraries linked, modules imported. What is there is left
# alone. Missing Debian packages are installed as root, or through sudo after saying so. With PEFTSCALE_NO_INSTALL=1, or where there is no apt-get, the names to
# install or to load are printed instead, and the exit code is 1. PEFTSCALE_SKIP_DEPS=1 leaves the whole check out.
#
# Environment: PYTHON, WNHOME (a WordNet elsewhere: dict/data.noun below it), and whatever the Makefile reads.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
PYTHON=${PYTHON:-/usr/bin/python3} # another python3 may come first on PATH and lack h5py
TOKENIZERS=tokenizers==0.23.3
build=build

with_all=0 want_venv=0 want_oracle=0
for word in "$@"; do
  case $word in
    --all) with_all=1 ;;
    --venv) want_venv=1 ;;
    --oracle) want_oracle=1 ;;
    -h | --help) sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) echo "deps.sh: unknown word '$word' (see --help)" >&2; exit 2 ;;
  esac
done

# ---- the Python environment ----

make_venv() {
  local venv=$build/venv log=$build/venv.log
  if "$venv/bin/python3" -c "import tokenizers, sys; sys.exit(tokenizers.__version__ != '${TOKENIZERS#*==}')" 2>/dev/null; then
    return 0
  fi
  mkdir -p "$build"
  if ! "$PYTHON" -m venv --system-site-packages --clear "$venv" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "deps: $PYTHON cannot make a virtual environment (Debian: python3-venv)" >&2
    return 3
  fi
  echo "deps: installing $TOKENIZERS into $venv"
  # Alone: what it names as needed is for downloading models, which the project never does.
  if ! "$venv/bin/python3" -m pip install --quiet --no-deps --retries 1 --timeout 20 --disable-pip-version-check "$TOKENIZERS" >>"$log" 2>&1 \
    || ! "$venv/bin/python3" -c 'import tokenizers' >>"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -rf "$venv" # a half-made one would pass for a whole one
    echo "deps: $TOKENIZERS cannot be had (is there a network, and a package index that pip knows?); word-level data needs no tokenizer" >&2
    return 3
  fi
}

# Its own environment, apart from the system's packages: these versions bring a NumPy that Debian's h5py was not built for.
make_oracle() {
  local venv=$build/oracle-venv log=$build/oracle-venv.log list=tests/oracle/requirements.txt
  if "$venv/bin/python3" - "$list" 2>/dev/null <<'END'; then
import re, sys
from importlib.metadata import version
pinned = re.findall(r"^([\w-]+)==(\S+)", open(sys.argv[1]).read(), re.M)
sys.exit(any(version(name).split("+")[0] != wanted for name, wanted in pinned))
END
    return 0
  fi
  mkdir -p "$build"
  if ! "$PYTHON" -m venv --clear "$venv" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "deps: $PYTHON cannot make a virtual environment (Debian: python3-venv)" >&2
    return 3
  fi
  echo "deps: installing $(grep -v '^#' "$list" | tr '\n' ' ')into $venv; this takes minutes"
  if ! "$venv/bin/python3" -m pip install --quiet --retries 1 --timeout 60 --disable-pip-version-check -r "$list" >>"$log" 2>&1 \
    || ! "$venv/bin/python3" -c 'import peft, torch, transformers' >>"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -rf "$venv" # a half-made one would pass for a whole one
    echo "deps: what $list names cannot be had (is there a network, and a package index that pip knows?)" >&2
    return 3
  fi
}

if [ $want_venv = 1 ]; then
  make_venv
  exit
fi
if [ $want_oracle = 1 ]; then
  make_oracle
  exit
fi
[ "${PEFTSCALE_SKIP_DEPS:-0}" = 1 ] && exit 0

# ---- nothing changed since everything was there? ----

overrides=
case ${MAKEFLAGS:-} in *"-- "*) overrides=${MAKEFLAGS#*-- } ;; esac
overrides=$(printf '%s\n' $overrides | grep -v '^T=') # which tests to run makes no difference
stamp=$build/deps.stamp
[ $with_all = 1 ] && stamp=$build/deps-all.stamp
key=$({
  cat "$0" Makefile
  printf '%s\n' "$PATH" "$PYTHON" "$overrides" "${CC:-}" "${CPATH:-}" "${LIBRARY_PATH:-}" "${LD_LIBRARY_PATH:-}" "${PKG_CONFIG_PATH:-}" \
    "${PKG_CONFIG_LIBDIR:-}" "${HDF5_DIR:-}" "${OPENBLAS_DIR:-}" "${ONEDNN_DIR:-}" "${ONEDNN:-}" "${WNHOME:-}" "${PYTHONPATH:-}"
  stat -c %Y /var/lib/dpkg/status 2>/dev/null # any package that came or went
} | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && exit 0

# ---- the default MPI ----

# Debian's mpicc, mpirun, mpi.h and libmpi.so are links to those of one MPI. A second one that is installed for its tests must not take them over.
mpi_links() {
  command -v update-alternatives >/dev/null 2>&1 || return 0
  local name
  for name in mpi mpirun $(update-alternatives --get-selections 2>/dev/null | awk '$1 ~ /^mpi-/ {print $1}'); do
    update-alternatives --query "$name" 2>/dev/null | awk -v name="$name" '/^Value: / {print name, $2}'
  done
}
# keep_mpi_links BEFORE: sets back those that were there and now lead elsewhere.
keep_mpi_links() {
  local name value now
  now=$(mpi_links)
  while read -r name value; do
    [ -z "$name" ] || [ "$value" = none ] || grep -qxF "$name $value" <<<"$now" && continue
    [ -e "$value" ] || continue
    echo "deps: $name leads to $value again"
    "${as_root[@]}" update-alternatives --set "$name" "$value" >>"$build/deps.log" 2>&1
  done <<<"$1"
}

# ---- trying ----

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# What is needed: the Debian package, its name in Spack, a usual name among environment modules ("-": comes with the system or with another).
spack_name() {
  case $1 in
    gcc) echo gcc ;; make) echo gmake ;; pkg-config) echo pkgconf ;; libopenmpi-dev | openmpi-bin) echo openmpi ;;
    libmpich-dev | mpich) echo mpich ;; libopenblas-openmp-dev) echo openblas threads=openmp ;; libhdf5-dev | hdf5-tools) echo hdf5~mpi ;; libyaml-dev) echo libyaml ;;
    libcjson-dev) echo cjson ;; libcmocka-dev) echo cmocka ;; libsleef-dev) echo sleef ;; libxxhash-dev) echo xxhash ;; python3-h5py) echo py-h5py ;;
    python3-pandas) echo py-pandas ;; python3-scipy) echo py-scipy ;; python3-matplotlib) echo py-matplotlib ;; python3-yaml) echo py-pyyaml ;;
    python3-rich) echo py-rich ;; python3-jinja2) echo py-jinja2 ;;
    python3-venv) echo python ;; valgrind) echo valgrind ;; clang-tidy) echo llvm+clang ;; munge) echo munge ;; slurm*) echo slurm ;; *) echo - ;;
  esac
}
module_name() {
  case $1 in
    gcc | make | pkg-config | python3-venv) echo - ;; libopenmpi-dev | openmpi-bin) echo OpenMPI ;; libmpich-dev | mpich) echo MPICH ;; libopenblas-openmp-dev) echo OpenBLAS ;;
    libhdf5-dev | hdf5-tools) echo HDF5 ;; libyaml-dev) echo libyaml ;; libcjson-dev) echo cJSON ;; libcmocka-dev) echo CMocka ;; libsleef-dev) echo SLEEF ;;
    libxxhash-dev) echo xxHash ;; python3-h5py) echo h5py ;; python3-pandas | python3-scipy) echo SciPy-bundle ;; python3-matplotlib) echo matplotlib ;;
    python3-yaml) echo PyYAML ;; python3-rich) echo rich ;; python3-jinja2) echo Jinja2 ;; valgrind) echo Valgrind ;; clang-tidy) echo Clang ;; *) echo - ;;
  esac
}

missing=() wished=()
lack() { missing+=("$1"); }
# What makes it faster, and is done without where it cannot be installed.
wish() { wished+=("$1"); }
# Administrators' programs may not be on a user's PATH.
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

# flag[NAME]: what the Makefile will use.
declare -A flag
read_flags() {
  flag=()
  local name value
  while IFS='=' read -r name value; do
    [[ $name =~ ^[A-Z0-9_]+$ ]] && flag[$name]=$value
  done < <(make -s probe-flags 2>/dev/null)
}

# links NAME SOURCE: does a program with these lines compile and link with NAME_CFLAGS and NAME_LIBS?
links() {
  # Flags are lists of words.
  # shellcheck disable=SC2086
  printf '%b\n' "$2" | ${flag[CC]:-mpicc} ${flag[$1_CFLAGS]:-} -x c - -o "$scratch/$1" ${flag[$1_LIBS]:-} >"$scratch/$1.log" 2>&1
}

# Can SLURM start Open MPI's ranks? It wants a configuration even to say so.
starts_by_pmix() {
  printf '%s\n' ClusterName=trial SlurmctldHost=trial NodeName=trial 'PartitionName=trial Nodes=trial' >"$scratch/slurm.conf"
  SLURM_CONF=$scratch/slurm.conf srun --mpi=list 2>&1 | grep -q pmix
}

try_all() {
  missing=() wished=()
  local tool
  have gcc || have cc || lack gcc
  for tool in make pkg-config; do have $tool || lack $tool; done
  have make && read_flags
  links MPI '#include <mpi.h>\nint main(int c, char **v) { return MPI_Init(&c, &v); }' || lack libopenmpi-dev
  have mpirun || lack openmpi-bin
  # Runs: the single-threaded build says so only then.
  { links BLAS '#include <cblas.h>\nint main(void) { return openblas_get_parallel() == 0; }' && "$scratch/BLAS"; } || lack libopenblas-openmp-dev
  links HDF5 '#include <hdf5.h>\nint main(void) { return H5open(); }' || lack libhdf5-dev
  have h5clear && have h5dump || lack hdf5-tools
  links YAML '#include <yaml.h>\nint main(void) { return !yaml_get_version_string(); }' || lack libyaml-dev
  links CJSON '#include <cjson/cJSON.h>\nint main(void) { return !cJSON_Version(); }' || lack libcjson-dev
  links XXHASH '#include <xxhash.h>\nint main(void) { return !XXH_versionNumber(); }' || lack libxxhash-dev
  links SLEEF '#include <sleef.h>\nint main(void) { return Sleef_exp_u10(0) != 1; }' || lack libsleef-dev
  [ -n "${flag[ONEDNN_CFLAGS]:-}" ] && links ONEDNN '#include <oneapi/dnnl/dnnl.h>\nint main(void) { return !dnnl_version(); }' || wish libdnnl-dev
  links CMOCKA '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <setjmp.h>\n#include <cmocka.h>
int main(void) { const struct CMUnitTest none[1] = {{0}}; return cmocka_run_group_tests_name("", none, 0, 0); }' || lack libcmocka-dev
  # One interpreter for all modules; one line for each that cannot be imported.
  local modules='h5py pandas scipy matplotlib yaml rich jinja2 venv' module absent
  absent=$("$PYTHON" - "$modules" 2>/dev/null <<'END' || echo "$modules"
import importlib, sys
for name in sys.argv[1].split():
    try:
        importlib.import_module(name)
        if name == "venv":
            importlib.import_module("ensurepip")
    except Exception:
        print(name)
END
  )
  for module in $absent; do lack "python3-$module"; done
  local dictionary=/usr/share/wordnet
  [ -n "${WNHOME:-}" ] && dictionary=$WNHOME/dict
  [ -r "$dictionary/data.noun" ] && [ -r "$dictionary/data.verb" ] || lack wordnet-base
  if [ $with_all = 1 ]; then
    # Linked by nobody: a test loads it to see it refused.
    ls /usr/lib/*/openblas-serial/libopenblas.so.0 >/dev/null 2>&1 || lack libopenblas0-serial
    have valgrind || lack valgrind
    # Other languages that read run files (analysis/layout).
    Rscript -e 'library(rhdf5)' >/dev/null 2>&1 || lack r-bioc-rhdf5
    Rscript -e 'library(hdf5r)' >/dev/null 2>&1 || lack r-cran-hdf5r
    have octave || lack octave
    have clang-tidy || lack clang-tidy
    # For several hosts on one machine (tests/cluster).
    have ip && have tc || lack iproute2
    have unshare || lack util-linux
    have mount || lack mount
    have hostname || lack hostname
    # MPICH beside Open MPI, under its own names.
    printf '#include <mpi.h>\nint main(int c, char **v) { return MPI_Init(&c, &v); }\n' >"$scratch/mpich.c"
    mpicc.mpich "$scratch/mpich.c" -o "$scratch/mpich" >"$scratch/mpich.log" 2>&1 || lack libmpich-dev
    have mpicc.mpich && have mpirun.mpich || lack mpich
    # For a SLURM cluster on one machine (tests/slurm). Where no init runs, as in a container, Debian's packages start no daemon; elsewhere munge's alone, which
    # the tests leave alone.
    local package
    for package in slurmctld slurmd; do have $package || lack $package; done
    have munged || lack munge
    have sbatch && have srun && have scontrol || lack slurm-client
    { have srun && starts_by_pmix; } || lack slurm-wlm-basic-plugins
    # For tables as a paper sees them, and pages as a reader does.
    kpsewhich booktabs.sty >/dev/null 2>&1 && have pdflatex || lack texlive-latex-recommended
    have chromium || lack chromium
    have chromedriver || lack chromium-driver
    "$PYTHON" -c 'import selenium' >/dev/null 2>&1 || lack python3-selenium
  fi
}

try_all
if [ $((${#missing[@]} + ${#wished[@]})) -gt 0 ]; then
  # ---- installing ----
  can_install=1
  [ "${PEFTSCALE_NO_INSTALL:-0}" = 1 ] && can_install=0
  command -v apt-get >/dev/null 2>&1 || can_install=0
  as_root=()
  if [ $can_install = 1 ] && [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      can_install=0
    elif [ -t 0 ]; then
      as_root=(sudo) # asks for the password
    elif sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      can_install=0
    fi
  fi
  if [ $can_install = 1 ]; then
    mkdir -p "$build"
    wanted=("${missing[@]}" "${wished[@]}")
    echo "deps: installing with ${as_root[*]:+${as_root[*]} }apt-get: ${wanted[*]}"
    echo "      (PEFTSCALE_NO_INSTALL=1 only names them)"
    apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$build/deps.log" 2>&1; }
    : >"$build/deps.log"
    apt update || echo "deps: apt-get update failed; trying with the lists there are"
    links_before=$(mpi_links)
    apt install -y --no-install-recommends "${wanted[@]}" || tail -n 10 "$build/deps.log" >&2
    keep_mpi_links "$links_before"
    try_all
  fi
fi

if [ ${#missing[@]} -gt 0 ]; then
  spack='' modules=''
  for name in "${missing[@]}"; do
    s=$(spack_name "$name") m=$(module_name "$name")
    [ "$s" = - ] || [[ " $spack " == *" $s "* ]] || spack+=" $s"
    [ "$m" = - ] || [[ " $modules " == *" $m "* ]] || modules+=" $m"
  done
  {
    echo "deps: missing: ${missing[*]}"
    echo "  Debian, Ubuntu:  apt-get install ${missing[*]}"
    [ -n "$spack" ] && echo "  Spack:           spack install$spack    (then spack load the same)"
    [ -n "$modules" ] && echo "  Modules:         module load$modules    (names differ: module avail)"
    [[ " ${missing[*]} " == *" python3-"* ]] && echo "  Python asked:    $PYTHON (another: make PYTHON=...)"
    [[ " ${missing[*]} " == *" wordnet-base "* ]] && echo "  WordNet:         without root, unpack WordNet 3.0 anywhere and set WNHOME to the folder with dict/"
    echo "  To go on without them: PEFTSCALE_SKIP_DEPS=1"
  } >&2
  exit 1
fi
[ ${#wished[@]} -gt 0 ] && echo "deps: faster with ${wished[*]} (Spack: onednn), which is not here; OpenBLAS does its work"
mkdir -p "$build" && printf '%s\n' "$key" >"$stamp"
exit 0
