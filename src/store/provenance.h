/* Where a run's numbers came from: build, libraries, machine.
 *
 * Not collective: each process reads its own; rank 0 writes. Not thread-safe.
 */
#ifndef PEFTSCALE_PROVENANCE_H
#define PEFTSCALE_PROVENANCE_H

enum { PROVENANCE_MAX = 60, PROVENANCE_NAME_BYTES = 64 };

/* `name` is held here: names of environment variables have no other owner. */
typedef struct provenance_item {
  char name[PROVENANCE_NAME_BYTES];
  char value[256];
} provenance_item;

typedef struct provenance {
  provenance_item items[PROVENANCE_MAX];
  int count;
} provenance;

/* Fills in what a process can know by itself: version, commit, dirty flag, source hash, compiler, compile flags (all taken at build time), HDF5, cJSON,
 * libyaml, kernel, CPU model, cores it may run on (binding), host, SLURM job, step and restart count where set, user-set variables of MPI, SLURM, OpenMP and
 * BLAS that change speed (sorted; at least 24 items are left free for provenance_add). */
void provenance_collect(provenance *p);

/* Of the sources that decide a run's numbers (all of src but the writing of files, sweeps and verbs), 16 hexadecimal digits; "unknown" in a build by hand. */
const char *provenance_source_hash(void);

/* Adds an item known elsewhere (MPI version, BLAS build and core, ranks). A longer value is cut with "..."; beyond PROVENANCE_MAX items are dropped. */
void provenance_add(provenance *p, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
