/* What `comm` was asked for and what it found: the verb in comm.c, its words in comm_request.c, its printing in comm_print.c. */
#ifndef PEFTSCALE_CMD_COMM_REQUEST_H
#define PEFTSCALE_CMD_COMM_REQUEST_H

#include "base/arena.h"
#include "cmd/cmd.h"
#include "comm/bench.h"
#include "train/comm_file.h"
#include "train/payload.h"

/* One size to be measured: a method's on a model, or a plain one. */
typedef struct comm_item {
  comm_file_case what;
  payload_size size;
  int64_t bytes_without_head; /* a plain size: all */
} comm_item;

typedef struct comm_request {
  arena *memory;
  comm_item *items;
  int item_count;
  int *ranks;
  int rank_count;
  bench_algorithm algorithms[BENCH_ALGORITHMS];
  int algorithm_count;
  int exact;
  bench_limits limits;
  comm_file_head head;
  const char *out; /* NULL: no file */
  int json, tsv;
} comm_request;

/* Not collective. Reads all words and counts the payloads. `memory` is made, also on failure, and is the caller's to destroy. Errors: ERROR_USAGE, ERROR_INPUT.
 */
int comm_request_read(int argc, char **argv, int ranks, comm_request *q);

/* A measured case. */
typedef struct comm_outcome {
  const comm_item *item;
  bench_case one;
  bench_result result;
  bench_summary summary;
} comm_outcome;

/* All on rank 0, not collective. outcomes: ranks outermost, then algorithms, then items. The table has at most 100 columns. */
void comm_print_text(comm *c, const comm_request *q, const comm_outcome *outcomes, int count);
void comm_print_tsv(const comm_outcome *outcomes, int count);
void comm_print_json(comm *c, const comm_request *q, const comm_outcome *outcomes, int count);

#endif
