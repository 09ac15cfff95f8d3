/* The file of `peftscale comm`: every repetition of every measured all-reduce. Layout: src/store/SCHEMA.md. It is written like a run file (PATH.partial while
 * it grows, readable after a crash).
 *
 * Not collective: rank 0 alone calls.
 */
#ifndef PEFTSCALE_COMM_FILE_H
#define PEFTSCALE_COMM_FILE_H

#include "comm/bench.h"

typedef struct comm_file comm_file;

/* Said of the whole file. */
typedef struct comm_file_head {
  const char *network;    /* the user's label; "": unknown                        */
  double rate_bits_per_s; /* of the links, shaped or known; 0: not shaped/unknown */
  const char *reduce;     /* "float" or "exact"                                   */
  const char *binding;    /* of ranks to cores (binding_names)                    */
} comm_file_head;

enum { COMM_FILE_LABEL = 64, COMM_FILE_METHOD = 32 };

/* What a case was measured for. */
typedef struct comm_file_case {
  char label[COMM_FILE_LABEL]; /* "lora on minilm-l6", or "size" */
  char model[COMM_FILE_LABEL], method[COMM_FILE_METHOD];
} comm_file_case;

/* Errors: ERROR_INPUT or ERROR_SYSTEM with path and reason; a place where no file can be is found out before one is begun. */
int comm_file_create(const char *path, comm *c, const comm_file_head *head, comm_file **result);

/* Appends a case, numbered from 0, and its repetitions. */
int comm_file_add(comm_file *f, const comm_file_case *what, const bench_case *one, const bench_result *result, const bench_sample *samples);

/* Completes it under its name, or leaves PATH.partial with `reason` as its status. Both destroy f. abandon(NULL) is allowed and keeps the last error. */
int comm_file_finish(comm_file *f);
void comm_file_abandon(comm_file *f, const char *reason);

#endif
