/* Identity of a run: experiment_id hashes all that decides its numbers, run_id adds how it was executed.
 *
 * request_id names a run that is only planned. Not collective, thread-safe. Errors: ERROR_MEMORY.
 */
#ifndef PEFTSCALE_IDENTITY_H
#define PEFTSCALE_IDENTITY_H

#include "train/run.h"

/* "precision=f32;backend=openblas": who multiplies by frozen weights, and with which operands, under a settled configuration. */
enum { IDENTITY_BACKEND_BYTES = 64 };
const char *identity_backend(const config *c, char text[IDENTITY_BACKEND_BYTES]);

/* All that the two hashes are made of. Texts are the caller's. */
typedef struct identity_parts {
  const char *canonical; /* config_canonical of the resolved configuration */
  const char *weights_hash, *dataset_hash;
  const char *start_hash; /* of the adapter file it starts from; "" for none */
  const char *backend;    /* identity_backend                                */
  int ranks, threads, nodes;
  const config *config; /* resolved: its execution keys */
} identity_parts;

int identity_of(const identity_parts *p, char experiment_id[HASH_TEXT_BYTES], char run_id[HASH_TEXT_BYTES]);

/* Fills in r->experiment_id and r->run_id; every rank gets the same. */
int identity_make(run *r);

/* What these would be on so many nodes. A run may go on where the batch system has spread its ranks otherwise. */
int identity_on_nodes(const run *r, int nodes, char experiment_id[HASH_TEXT_BYTES], char run_id[HASH_TEXT_BYTES]);

/* request_id: a planned run's name before data or weights are looked at. The hash of the configuration as it was asked for (values left to `auto` say auto),
 * of the names under which data, weights and start are looked for, and of how the run is to be executed; the files' contents play no part. */
int identity_request(const config *c, int ranks, char text[HASH_TEXT_BYTES]);

#endif
