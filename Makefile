# peftscale: one Makefile for everything. `make help` lists what it can do.
#
# New files need no edit here: sources and tests are found by their folders.
#   src/*/*.c            -> build/libpeftscale.a          src/main.c            -> build/peftscale
#   tests/unit/test_*.c  -> build/tests/unit/test_*       tests/mpi/*.c         -> build/tests/mpi/*
#   tests/conformance/*.c -> build/tests/conformance/*    tests/bench/*.c       -> build/bench/*
#   tests/oracle/*.c     -> build/tests/oracle/*
#   tests/support/*.c    linked into each of these where needed
#   tests/unit/test_*_double.c, tests/conformance/*_double.c and conformance.c once more -> build/double/*_double, in double precision
#
#? Variables (make NAME=value):
#? CC           compiler, mpicc where there is one (mpicc.mpich: MPICH beside Open MPI, best with BUILD=build/mpich); else gcc
#? MPI_PACKAGE  where CC is no mpicc: what pkg-config calls MPI, ompi-c or mpich
#? MARCH        processor level to compile for; x86-64-v3 runs on all of one cluster, native is this machine alone
#? OPT          optimisation, -O3
#? CFLAGS       added to the project's own flags; CPPFLAGS, LDFLAGS and LDLIBS likewise
#? DEBUG        1: for a debugger, in build/debug
#? SANITIZE     address,undefined and the like: in build/sanitize-address-undefined
#? WERROR       1: a warning is an error
#? V            1: show whole commands
#? HDF5_DIR     where HDF5 is (include, lib), if pkg-config and h5cc do not know; or HDF5_CFLAGS and HDF5_LIBS
#? OPENBLAS_DIR where OpenBLAS is (include, lib), if not Debian's openmp build; or BLAS_CFLAGS and BLAS_LIBS
#? ONEDNN_DIR   where oneDNN is (include, lib), if the compiler does not find it; ONEDNN=0 builds without it
#? PYTHON       the Python that has h5py, /usr/bin/python3
#? PREFIX       where to install, /usr/local; DESTDIR is put before it
#? T            run only the tests whose name contains this
#? ARGS         words for `make bench-peer` (ARGS=--help)
#? BUILD        where to build, build

VERSION := 0.1.0

MAKEFLAGS += -r --no-print-directory
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
SHELL := /bin/bash

# ---- tools and flags ----

PKG_CONFIG ?= pkg-config
PYTHON ?= /usr/bin/python3
CLANG_FORMAT ?= clang-format
PREFIX ?= /usr/local

# mpicc brings MPI's flags along; any other compiler is given those of Open MPI or MPICH (a cluster's own `cc` needs none, and pkg-config then knows none).
ifeq ($(origin CC),default)
  CC := $(if $(shell command -v mpicc),mpicc,gcc)
endif
ifeq ($(findstring mpi,$(CC)),)
  MPI_PACKAGE ?= $(firstword $(foreach p,ompi-c mpich,$(shell $(PKG_CONFIG) --exists $p 2>/dev/null && echo $p)))
  MPI_CFLAGS ?= $(if $(MPI_PACKAGE),$(shell $(PKG_CONFIG) --cflags $(MPI_PACKAGE) 2>/dev/null))
  MPI_LIBS ?= $(if $(MPI_PACKAGE),$(shell $(PKG_CONFIG) --libs $(MPI_PACKAGE) 2>/dev/null))
endif

BUILD ?= build
B := $(BUILD)
comma := ,
hash := \#
ifneq ($(SANITIZE),)
  B := $(B)/sanitize-$(subst $(comma),-,$(SANITIZE))
  OPT ?= -O1
  SANITIZE_FLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
else ifneq ($(filter-out 0,$(DEBUG)),)
  B := $(B)/debug
  OPT ?= -Og
endif
OPT ?= -O3
MARCH ?= x86-64-v3

# Never -ffast-math: sums keep their order, and NaN is found. That roots set no errno lets loops with them become vectors, and changes no number.
OWN_CFLAGS := -std=gnu11 $(OPT) -g $(if $(MARCH),-march=$(MARCH)) -fno-math-errno -fopenmp $(SANITIZE_FLAGS)
# The vector kernels are compiled a second time for AVX-512 and chosen where the program runs; not where the whole program is compiled for that anyway.
V4_FLAGS := -march=x86-64-v4 -mprefer-vector-width=512
KERNELS_V4 := $(shell printf '%s\n' '$(hash)if !__x86_64__ || __AVX512VL__' '$(hash)error' '$(hash)endif' | $(CC) $(OWN_CFLAGS) $(CFLAGS) -x c -E - >/dev/null 2>&1 && \
  $(CC) $(OWN_CFLAGS) $(CFLAGS) $(V4_FLAGS) -x c -E /dev/null >/dev/null 2>&1 && echo '$(V4_FLAGS) -DLINALG_V4')
WARNINGS := -Wall -Wextra -Wshadow $(if $(filter-out 0,$(WERROR)),-Werror)
COMPILE = $(CC) $(OWN_CFLAGS) $(WARNINGS) $(CFLAGS) $(CPPFLAGS) -Isrc
ifeq ($(filter-out 0,$(V)),)
  say = @printf '  %-5s %s\n' $1 $2;
endif

# ---- libraries ----

pkg_cflags = $(shell $(PKG_CONFIG) --cflags $1 2>/dev/null)
pkg_libs = $(or $(shell $(PKG_CONFIG) --libs $1 2>/dev/null),$2)
# Folders of libraries are remembered in the program, so that it runs with what it was linked with.
with_rpath = $1 $(patsubst -L%,-Wl$(comma)-rpath$(comma)%,$(filter -L%,$1))

# HDF5, the serial build: only rank 0 writes. Plain `hdf5` may be a parallel build, so it comes second.
ifneq ($(HDF5_DIR),)
  HDF5_CFLAGS ?= -I$(HDF5_DIR)/include
  HDF5_LIBS ?= $(call with_rpath,-L$(HDF5_DIR)/lib -lhdf5)
endif
ifeq ($(origin HDF5_LIBS),undefined)
  HDF5_PACKAGE := $(firstword $(foreach p,hdf5-serial hdf5,$(shell $(PKG_CONFIG) --exists $p 2>/dev/null && echo $p)))
  ifneq ($(HDF5_PACKAGE),)
    HDF5_CFLAGS := $(call pkg_cflags,$(HDF5_PACKAGE))
    HDF5_LIBS := $(call with_rpath,$(call pkg_libs,$(HDF5_PACKAGE)))
  else
    H5CC_WORDS := $(shell h5cc -show 2>/dev/null)
    HDF5_CFLAGS := $(filter -I%,$(H5CC_WORDS))
    HDF5_LIBS := $(call with_rpath,$(filter -L%,$(H5CC_WORDS)) -lhdf5)
  endif
endif

# OpenBLAS: an openmp build, or a pthread one. The serial build gives wrong products when several threads call it, so it is never linked. On Debian
# libopenblas.so.0 is whichever build the administrator chose last; naming the folder keeps that choice out of it.
ifneq ($(OPENBLAS_DIR),)
  BLAS_CFLAGS ?= -I$(OPENBLAS_DIR)/include
  BLAS_LIBS ?= $(call with_rpath,-L$(OPENBLAS_DIR)/lib -lopenblas)
endif
ifeq ($(origin BLAS_LIBS),undefined)
  TRIPLET := $(shell $(CC) -print-multiarch 2>/dev/null)
  BLAS_BUILD := $(firstword $(foreach b,openmp pthread,$(if $(wildcard /usr/lib/$(TRIPLET)/openblas-$b/libopenblas.so),openblas-$b)))
  ifneq ($(BLAS_BUILD),)
    BLAS_CFLAGS := -I/usr/include/$(TRIPLET)/$(BLAS_BUILD)
    BLAS_LIBS := $(call with_rpath,-L/usr/lib/$(TRIPLET)/$(BLAS_BUILD) -lopenblas)
  else
    BLAS_CFLAGS := $(call pkg_cflags,openblas)
    BLAS_LIBS := $(call with_rpath,$(call pkg_libs,openblas,-lopenblas))
  endif
endif
# Expanded in the recipes that link: everything that needs no BLAS still works.
REFUSE_SERIAL_BLAS = $(if $(findstring openblas-serial,$(BLAS_LIBS)),$(error only the serial build of OpenBLAS was found, which is not thread-safe; \
install its openmp build (Debian: libopenblas-openmp-dev) or set OPENBLAS_DIR))

# cJSON is included as <cjson/cJSON.h>, but its pkg-config names the inner folder.
CJSON_CFLAGS ?= $(patsubst %,-I%,$(filter-out /usr/include,$(shell $(PKG_CONFIG) --variable=includedir libcjson 2>/dev/null)))
CJSON_LIBS ?= $(call with_rpath,$(call pkg_libs,libcjson,-lcjson))
YAML_CFLAGS ?= $(call pkg_cflags,yaml-0.1)
YAML_LIBS ?= $(call with_rpath,$(call pkg_libs,yaml-0.1,-lyaml))
XXHASH_CFLAGS ?= $(call pkg_cflags,libxxhash)
XXHASH_LIBS ?= $(call with_rpath,$(call pkg_libs,libxxhash,-lxxhash))
# oneDNN is used where it is installed; ONEDNN=0 builds without.
ifneq ($(ONEDNN_DIR),)
  ONEDNN_CFLAGS ?= -DPEFTSCALE_ONEDNN -I$(ONEDNN_DIR)/include
  ONEDNN_LIBS ?= $(call with_rpath,-L$(ONEDNN_DIR)/lib -ldnnl)
else ifneq ($(ONEDNN),0)
  ONEDNN_CFLAGS ?= $(if $(shell printf '\n' | $(CC) -include oneapi/dnnl/dnnl.h -E - >/dev/null 2>&1 && echo yes),-DPEFTSCALE_ONEDNN)
  ONEDNN_LIBS ?= $(if $(ONEDNN_CFLAGS),-ldnnl)
endif
SLEEF_CFLAGS ?= $(call pkg_cflags,sleef)
SLEEF_LIBS ?= $(call with_rpath,$(call pkg_libs,sleef,-lsleef))
CMOCKA_CFLAGS ?= $(call pkg_cflags,cmocka)
CMOCKA_LIBS ?= $(call with_rpath,$(call pkg_libs,cmocka,-lcmocka))

# A folder sees the headers of the libraries that it may use and no others (with mpicc all see mpi.h; `make layers` checks that one, too).
INCLUDES_base := $(XXHASH_CFLAGS)
INCLUDES_linalg := $(BLAS_CFLAGS) $(SLEEF_CFLAGS) $(ONEDNN_CFLAGS)
INCLUDES_model := $(CJSON_CFLAGS)
INCLUDES_data := $(HDF5_CFLAGS) $(CJSON_CFLAGS)
INCLUDES_store := $(HDF5_CFLAGS) $(CJSON_CFLAGS) $(XXHASH_CFLAGS) $(YAML_CFLAGS)
INCLUDES_config := $(YAML_CFLAGS) $(CJSON_CFLAGS)
INCLUDES_train := $(CJSON_CFLAGS)
INCLUDES_cmd := $(CJSON_CFLAGS) $(YAML_CFLAGS)
INCLUDES_comm := $(MPI_CFLAGS)
INCLUDES_main.c := $(MPI_CFLAGS)
INCLUDES_tests := -Itests $(MPI_CFLAGS) $(HDF5_CFLAGS) $(BLAS_CFLAGS) $(SLEEF_CFLAGS) $(ONEDNN_CFLAGS) $(CJSON_CFLAGS) $(YAML_CFLAGS) $(XXHASH_CFLAGS) $(CMOCKA_CFLAGS)
LIBS := $(BLAS_LIBS) $(ONEDNN_LIBS) $(HDF5_LIBS) $(YAML_LIBS) $(CJSON_LIBS) $(XXHASH_LIBS) $(SLEEF_LIBS) $(MPI_LIBS) -lm
LIBS_tests := $(CMOCKA_LIBS)
LINK_FLAGS = $(LDFLAGS)
LINK_LIBS = $(LIBS) $(LDLIBS)

# ---- files ----

SOURCES := $(filter-out src/main.c,$(sort $(wildcard src/*.c src/*/*.c src/*/*/*.c)))
OBJECTS := $(SOURCES:src/%.c=$(B)/obj/%.o)
LIBRARY := $(B)/libpeftscale.a
PROGRAM := $(if $(wildcard src/main.c),$(B)/peftscale)

# What gradient tests need, once more in double precision (and position-independent, so that it can become a shared library).
DOUBLE_SOURCES := $(sort $(wildcard $(foreach f,base linalg method model optim,src/$f/*.c) src/store/safetensors*.c src/store/file.c))
DOUBLE_OBJECTS := $(DOUBLE_SOURCES:src/%.c=$(B)/double/obj/%.o)
DOUBLE_LIBRARY := $(B)/double/libpeftscale-double.a

SUPPORT_SOURCES := $(sort $(wildcard tests/support/*.c))
SUPPORT_OBJECTS := $(SUPPORT_SOURCES:tests/%.c=$(B)/obj/tests/%.o)
SUPPORT_DOUBLE_OBJECTS := $(SUPPORT_SOURCES:tests/%.c=$(B)/double/obj/tests/%.o)
SUPPORT_LIBRARY := $(if $(SUPPORT_SOURCES),$(B)/tests/libsupport.a)
SUPPORT_DOUBLE_LIBRARY := $(if $(SUPPORT_SOURCES),$(B)/double/libsupport-double.a)

TEST_SOURCES := $(sort $(wildcard tests/unit/test_*.c tests/conformance/*.c tests/mpi/*.c tests/oracle/*.c))
TEST_PROGRAMS := $(patsubst tests/%.c,$(B)/tests/%,$(filter-out %_double.c,$(TEST_SOURCES)))
DOUBLE_PROGRAMS := $(patsubst %.c,$(B)/double/%,$(notdir $(filter %_double.c,$(TEST_SOURCES)))) \
  $(patsubst tests/conformance/%.c,$(B)/double/%_double,$(wildcard tests/conformance/conformance.c))
PEER_LIBRARIES := $(B)/bench/libpeak.so $(B)/bench/libmkl_as_on_intel.so
BENCH_PROGRAMS := $(patsubst tests/bench/%.c,$(B)/bench/%,$(sort $(wildcard tests/bench/*.c)))

# ---- library and program ----

.PHONY: all FORCE
all: $(LIBRARY) $(PROGRAM) ## the library and the program (what plain `make` does)

# A stamp is rewritten only when its text changes; what depends on it is made again exactly then.
keep_if_same = @mkdir -p $(@D); printf '%s\n' "$$STAMP" | cmp -s - $@ || printf '%s\n' "$$STAMP" > $@
$(B)/flags.stamp: export STAMP = $(COMPILE) $(KERNELS_V4) $(foreach f,$(filter INCLUDES_%,$(.VARIABLES)),$(sort $($f))) $(LINK_FLAGS) $(LINK_LIBS)
$(B)/objects.stamp: export STAMP = $(OBJECTS) $(DOUBLE_OBJECTS) $(SUPPORT_OBJECTS)
$(B)/flags.stamp $(B)/objects.stamp: FORCE
	$(keep_if_same)

# What src/store/provenance.c says about this build. "Dirty" looks at what decides the numbers alone; outside the project's own git checkout the state is
# not known, and that is never called clean.
GIT := git --no-optional-locks
quoted = "$(subst ",\",$(subst \,\\,$(strip $1)))"
define newline


endef
$(B)/provenance_build.h: IN_GIT = $(shell $(GIT) rev-parse --show-cdup 2>/dev/null | grep -qx '' && echo yes)
$(B)/provenance_build.h: COMMIT ?= $(if $(IN_GIT),$(shell $(GIT) rev-parse HEAD 2>/dev/null),unknown)
$(B)/provenance_build.h: DIRTY ?= $(if $(IN_GIT),$(if $(shell $(GIT) status --porcelain -- src configs Makefile),1,0),1)
# What decides the numbers of a run, without its comments: finished runs of other sources are told as stale (`peftscale sweep`). Of the folders with other
# work as well, the files that take part in a step, an evaluation or the choice of a setting.
NUMERIC := base/random base/real linalg/% method/% model/% data/% optim/% config/schema comm/allreduce comm/comm comm/element comm/exchange comm/node comm/ring \
  comm/sum train/batches train/evaluate train/exact train/head train/metrics train/payload train/resume train/run train/start train/step train/supernet \
  train/train train/weights
NUMERIC_SOURCES := $(filter-out src/linalg/peak.c,$(filter $(foreach n,$(NUMERIC),src/$n.c src/$n.h),$(sort $(wildcard src/*/*.[ch] src/*/*/*.[ch]))))
$(B)/source_hash: $(NUMERIC_SOURCES)
	@mkdir -p $(@D)
	@for f in $^; do echo "$$f"; $(CC) -fpreprocessed -dD -E -P "$$f" 2>/dev/null || cat "$$f"; done | sha256sum | cut -c 1-16 > $@
fact = $(hash)define PEFTSCALE_$1 $(call quoted,$2)$(newline)
$(B)/provenance_build.h: export STAMP = $(call fact,VERSION,$(VERSION))$(call fact,COMMIT,$(COMMIT))$(call fact,DIRTY,$(DIRTY))$(call \
  fact,SOURCE_HASH,$(shell cat '$(B)/source_hash' 2>/dev/null || echo unknown))$(call fact,COMPILER,$(shell $(CC) --version 2>/dev/null | head -n 1))$(call fact,CFLAGS,$(OWN_CFLAGS) $(CFLAGS))
$(B)/provenance_build.h: $(B)/source_hash FORCE
	$(keep_if_same)
$(B)/obj/store/provenance.o: $(B)/provenance_build.h
$(B)/obj/store/provenance.o: EXTRA := -include $(B)/provenance_build.h
$(B)/obj/linalg/kernels_v4.o: EXTRA := $(KERNELS_V4)

# The first folder of a source decides which library headers it sees.
includes_of = $(INCLUDES_$(firstword $(subst /, ,$1)))

$(B)/obj/%.o: src/%.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(call say,CC,$<)$(COMPILE) $(call includes_of,$(<:src/%=%)) $(EXTRA) -MMD -MP -c $< -o $@

$(B)/double/obj/%.o: src/%.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(call say,CC64,$<)$(COMPILE) -fPIC -DPEFTSCALE_DOUBLE $(call includes_of,$(<:src/%=%)) -MMD -MP -c $< -o $@

# Made anew each time, so that the object of a deleted source does not stay inside.
archive = $(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(LIBRARY): $(OBJECTS) $(B)/objects.stamp
	$(archive)
$(DOUBLE_LIBRARY): $(DOUBLE_OBJECTS) $(B)/objects.stamp
	$(archive)

$(B)/peftscale: $(B)/obj/main.o $(LIBRARY)
	$(REFUSE_SERIAL_BLAS)$(call say,LINK,$@)$(CC) $(OWN_CFLAGS) $(CFLAGS) $(LINK_FLAGS) $^ $(LINK_LIBS) -o $@

# ---- tests and benchmarks ----

$(B)/obj/tests/%.o: tests/%.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(call say,CC,$<)$(COMPILE) $(INCLUDES_tests) -MMD -MP -c $< -o $@
$(B)/double/obj/tests/%.o: tests/%.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(call say,CC64,$<)$(COMPILE) -fPIC -DPEFTSCALE_DOUBLE $(INCLUDES_tests) -MMD -MP -c $< -o $@
$(B)/tests/libsupport.a: $(SUPPORT_OBJECTS) $(B)/objects.stamp
	@mkdir -p $(@D)
	$(archive)
$(B)/double/libsupport-double.a: $(SUPPORT_DOUBLE_OBJECTS) $(B)/objects.stamp
	@mkdir -p $(@D)
	$(archive)

# One source, one program. $1: flags of this variant, $2: its libraries.
build_test = $(REFUSE_SERIAL_BLAS)$(call say,TEST,$@)mkdir -p $(@D) && \
  $(COMPILE) $1 $(INCLUDES_tests) -MMD -MP -MF $@.d -MT $@ $(LINK_FLAGS) $< $2 $(LIBS_tests) $(LINK_LIBS) -o $@

$(B)/tests/%: tests/%.c $(SUPPORT_LIBRARY) $(LIBRARY) $(B)/flags.stamp
	$(call build_test,,$(SUPPORT_LIBRARY) $(LIBRARY))
$(B)/bench/%: tests/bench/%.c $(SUPPORT_LIBRARY) $(LIBRARY) $(B)/flags.stamp
	$(call build_test,,$(SUPPORT_LIBRARY) $(LIBRARY))

DOUBLE_NEEDS := $(SUPPORT_DOUBLE_LIBRARY) $(DOUBLE_LIBRARY) $(B)/flags.stamp
$(B)/double/conformance_double: tests/conformance/conformance.c $(DOUBLE_NEEDS)
	$(call build_test,-DPEFTSCALE_DOUBLE,$(SUPPORT_DOUBLE_LIBRARY) $(DOUBLE_LIBRARY))
$(B)/double/%_double: tests/unit/%_double.c $(DOUBLE_NEEDS)
	$(call build_test,-DPEFTSCALE_DOUBLE,$(SUPPORT_DOUBLE_LIBRARY) $(DOUBLE_LIBRARY))
$(B)/double/%_double: tests/conformance/%_double.c $(DOUBLE_NEEDS)
	$(call build_test,-DPEFTSCALE_DOUBLE,$(SUPPORT_DOUBLE_LIBRARY) $(DOUBLE_LIBRARY))

.PHONY: bench-sweep bench-analysis bench-peer stats-proof tests bench-programs test test-all unit layers counts deps venv oracle demo cluster-demo bench tables report figures
tests: all $(TEST_PROGRAMS) $(DOUBLE_LIBRARY) $(DOUBLE_PROGRAMS) $(B)/bench/bench_step $(PEER_LIBRARIES) ## build the test programs and run none
bench-programs: $(BENCH_PROGRAMS)

# After the check for dependencies comes a second make: this one asked pkg-config for flags before they may have been installed.
DEPS := PYTHON='$(PYTHON)' bash tests/support/deps.sh
RUN_TESTS := $(PYTHON) tests/support/run_tests.py --build '$(B)' $(if $(T),--only '$(T)')

test: ## check the dependencies, build, run all tests that need no root, network or downloaded weights
	@$(DEPS)
	@$(MAKE) tests
	@$(RUN_TESTS)

test-all: ## the same with every test; first makes the Python environments that some need
	@$(DEPS) --all
	@$(DEPS) --venv || echo 'Tests that need it will be skipped.'
	@$(DEPS) --oracle || echo 'Tests that need it will be skipped.'
	@$(MAKE) tests bench-programs
	@$(RUN_TESTS) --all

unit: $(filter $(B)/tests/unit/%,$(TEST_PROGRAMS)) $(filter %_double,$(DOUBLE_PROGRAMS)) ## the unit tests alone, without checking dependencies
	@$(RUN_TESTS) unit

layers: ## check which folder of src includes which, and which package of analysis imports which
	@bash tests/support/layers.sh

counts: all ## compare the counts of methods on models with those that papers print
	@PEFTSCALE='$(B)/peftscale' $(PYTHON) tests/counts/compare_counts.py

deps: ## install what is missing, or say what to install (PEFTSCALE_NO_INSTALL=1: only say)
	@$(DEPS)

venv: ## build/venv: a Python with the tokenizers package
	@$(DEPS) --venv

oracle: ## compare every method with PEFT, the field's implementation; makes build/oracle-venv for it
	@$(DEPS)
	@$(DEPS) --oracle
	@$(MAKE) $(B)/tests/oracle/probe
	@OMP_NUM_THREADS=1 PEFTSCALE_BUILD='$(B)' build/oracle-venv/bin/python3 -B tests/oracle/parity.py $(if $(T),--only '$(T)')

demo: ## adapt a real model by all methods with two ranks; ends with a table and results/quickstart/report.html
	@$(DEPS)
	@$(MAKE) all
	@PEFTSCALE='$(B)/peftscale' PYTHON='$(PYTHON)' bash experiments/quickstart/demo.sh

cluster-demo: ## what each method saves on slow links: two hosts made of network namespaces; needs root, takes about twenty minutes
	@$(DEPS) --all
	@$(MAKE) all
	@PEFTSCALE='$(B)/peftscale' PYTHON='$(PYTHON)' bash experiments/cluster-demo/run.sh

bench: ## all benchmarks; bench-NAME is one of them
	@$(DEPS)
	@$(MAKE) bench-programs
	@bash tests/support/bench.sh '$(B)'

bench-sweep: all ## what a sweep costs beside its runs: planning, looking, starting
	@PEFTSCALE='$(B)/peftscale' $(PYTHON) tests/bench/bench_sweep.py

bench-analysis: ## how long 10,000 run files take to be read and tabulated, cold and from the cache
	@$(PYTHON) tests/bench/bench_analysis.py

# What the peer's process loads: our probe of the peak, and what has its MKL use the processor's real level.
$(B)/bench/libpeak.so: src/linalg/peak.c src/base/clock.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(call say,LIB,$@)$(COMPILE) -fPIC -shared $(filter %.c,$^) -o $@
$(B)/bench/libmkl_as_on_intel.so: tests/bench/peer/mkl_as_on_intel.c $(B)/flags.stamp
	@mkdir -p $(@D)
	$(call say,LIB,$@)$(COMPILE) -fPIC -shared $(filter %.c,$^) -o $@

bench-peer: ## training steps against transformers, PEFT and DistributedDataParallel, in turns; needs weights and SST-2; ARGS are its options
	@$(DEPS)
	@$(DEPS) --oracle
	@$(MAKE) all $(B)/bench/bench_step $(PEER_LIBRARIES)
	@PEFTSCALE_BUILD='$(B)' PEFTSCALE='$(B)/peftscale' $(PYTHON) -B tests/bench/bench_peer.py $(ARGS)

stats-proof: ## coverage, family errors and power of the analysis' statistics by simulation, as the tables of analysis/stats/README.md; takes half an hour
	@OPENBLAS_NUM_THREADS=1 $(PYTHON) tests/analysis/stats_simulation.py

bench-%: $(B)/bench/bench_%
	@bash tests/support/bench.sh '$(B)' $*

# $1: a verb of the analysis, for each study under results/, or for STUDY alone; $2: words where it has an index; $3: where to write.
each_study = found= failed=; for study in $(if $(STUDY),"results/$(STUDY)",results/*); do \
    if [ -f "$$study/index.tsv" ] || [ -f "$$study/archive.tsv" ]; then set -- --study "$$study" $2; \
    elif [ -d "$$study/runs" ]; then set -- "$$study/runs"; \
    else continue; fi; \
    found=1; echo "== $$study"; $(PYTHON) -m analysis $1 "$$@" $3 || failed=1; \
  done; \
  [ -n "$$found" ] || { echo "there are no runs below results/$(or $(STUDY),*)"; exit 1; }; [ -z "$$failed" ]

tables: ## tables of the studies and runs under results/; STUDY=NAME is one study
	@$(call each_study,table,--curves --layout both,--out-dir "$$study")

figures: ## figures of them, in results/NAME/figures; STUDY=NAME is one study
	@$(call each_study,plot,,--out-dir "$$study/figures")

report: ## one HTML file of each, results/NAME/report.html; STUDY=NAME is one study
	@$(call each_study,report,,--out "$$study/report.html")

# ---- installation ----

BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib
INCLUDE := $(DESTDIR)$(PREFIX)/include/peftscale
SHARE := $(DESTDIR)$(PREFIX)/share/peftscale
# Headers that a folder shares only among its own files stay at home.
PUBLIC_HEADERS := $(filter-out %_private.h %/internal.h %/kernels.h,$(sort $(wildcard src/*/*.h)))
SHARED_FILES = $(sort $(shell find configs jobs experiments/prepare analysis -type f ! -name '*.pyc' ! -name '.*' 2>/dev/null)) LICENSE CITATION.cff

.PHONY: install uninstall
install: all ## program, library, headers, configurations, batch scripts, preparation and analysis, under DESTDIR PREFIX
	install -d '$(BIN)' '$(LIB)' '$(INCLUDE)' '$(SHARE)'
	install -m 755 '$(B)/peftscale' '$(BIN)/peftscale'
	install -m 644 '$(LIBRARY)' '$(LIB)/libpeftscale.a'
	@for f in $(PUBLIC_HEADERS:src/%=%); do echo "install $(INCLUDE)/$$f"; install -D -m 644 "src/$$f" "$(INCLUDE)/$$f" || exit 1; done
	@for f in $(SHARED_FILES); do mode=644; [ ! -x "$$f" ] || mode=755; echo "install $(SHARE)/$$f"; install -D -m $$mode "$$f" "$(SHARE)/$$f" || exit 1; done

uninstall: ## remove what install put there
	rm -f '$(BIN)/peftscale' '$(LIB)/libpeftscale.a'
	rm -rf '$(INCLUDE)' '$(SHARE)'

# ---- the rest ----

.PHONY: clean distclean format help probe-flags
clean: ## remove what was built, keep the Python environments and the note that dependencies are there
	@[ ! -d '$(BUILD)' ] || find '$(BUILD)' -mindepth 1 -maxdepth 1 ! -name venv ! -name oracle-venv ! -name 'deps*.stamp' -exec rm -rf {} +

distclean: ## remove the whole build folder
	rm -rf '$(BUILD)'
	find experiments analysis tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

format: ## put the C sources into their form
	$(CLANG_FORMAT) -i $(shell find src tests -name '*.[ch]')

help: ## this list
	@sed -n -E 's/^([a-z-]+):[^=]*## (.*)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  %-12s %s\n' $$name "$$text"; done
	@echo
	@sed -n -E 's/^#\? ?//p' Makefile | sed -E '2,$$s/^/  /'

# Asked by tests/support/deps.sh, so that it tries exactly what the build will use.
probe-flags:
	@$(foreach v,CC OWN_CFLAGS MPI_CFLAGS MPI_LIBS HDF5_CFLAGS HDF5_LIBS BLAS_CFLAGS BLAS_LIBS YAML_CFLAGS YAML_LIBS CJSON_CFLAGS CJSON_LIBS XXHASH_CFLAGS \
	  XXHASH_LIBS SLEEF_CFLAGS SLEEF_LIBS ONEDNN_CFLAGS ONEDNN_LIBS CMOCKA_CFLAGS CMOCKA_LIBS,printf '%s\n' '$v=$(strip $($v))';)

# make print-LIBS: the value of a variable, for tools such as clang-tidy.
print-%:
	@printf '%s\n' '$($*)'

-include $(OBJECTS:.o=.d) $(B)/obj/main.d $(DOUBLE_OBJECTS:.o=.d) $(SUPPORT_OBJECTS:.o=.d) $(SUPPORT_DOUBLE_OBJECTS:.o=.d)
-include $(addsuffix .d,$(TEST_PROGRAMS) $(DOUBLE_PROGRAMS) $(BENCH_PROGRAMS))
