/* Which process group works on a run: PATH.claim beside the run file, which its owner keeps fresh.
 *
 * The file names its owner (host, process, job), so that others can say who works on what, and holds how far the run is. A claim ends with its owner: at once
 * where the owner was a process of this machine that is gone (after SIGKILL, say), after CLAIM_LEASE_S without a sign of life where it cannot be looked up. It
 * needs no locks of the file system, only that a link is made by one process alone, which NFS and Lustre give as well.
 *
 * A claim keeps two jobs from doing the same work; what keeps two writers out of one file is the lock of the run file (store/runfile.h).
 *
 * Not collective: rank 0 alone calls. Not thread-safe.
 */
#ifndef PEFTSCALE_CLAIM_H
#define PEFTSCALE_CLAIM_H

#include <stdint.h>

enum { CLAIM_LEASE_S = 120, CLAIM_OWNER_BYTES = 256 };

typedef enum claim_state { CLAIM_FREE, CLAIM_HELD, CLAIM_DEAD } claim_state;

typedef struct claim_view {
  claim_state state;
  int is_ours;                   /* held by this very process */
  char owner[CLAIM_OWNER_BYTES]; /* for people: "process 12 on node3, job 7_2, since 2026-05-04T03:02:01Z" */
  int64_t done, steps;           /* how far it said it is; 0 of 0: not yet                                    */
} claim_view;

typedef struct claim claim;

/* Who holds the run of this file, if anybody. */
void claim_look(const char *run_path, claim_view *view);

/* Takes the run of this file, also from a dead owner. *result NULL: another has it. Released with claim_release. Errors: ERROR_SYSTEM with path and reason. */
int claim_take(const char *run_path, claim **result);

/* How far the run is, to be written with the next sign of life: cheap, for every step. `c` is a claim. */
void claim_progress(void *c, int64_t done, int64_t steps);

/* Gives it back. NULL is allowed. */
void claim_release(claim *c);

#endif
