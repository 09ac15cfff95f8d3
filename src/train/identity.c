/* What a run is: experiment_id hashes all that decides its numbers, run_id adds how it was executed. */
#include "train/identity.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

int identity_make(run *r) {
  char *canonical, line[256];
  hash *h;
  TRY(config_canonical(r->config, &canonical));
  int code = hash_create(&h);
  if (!code) {
    hash_add_text(h, canonical);
    hash_add_text(h, r->weights_hash);
    hash_add_text(h, r->data->hash);
    if (*r->start_hash) hash_add_text(h, r->start_hash);
    hash_add_text(h, "precision=f32;backend=openblas");
    hash_finish(h, r->experiment_id);
    code = hash_create(&h);
  }
  if (!code) {
    const config *c = r->config;
    snprintf(line, sizeof line, "ranks=%d;threads=%d;nodes=%d;reduce=%s;payload=%s", comm_size(r->comm), r->threads, comm_nodes(r->comm),
             c->reduce == REDUCE_EXACT ? "exact" : "float", c->payload == PAYLOAD_DENSE ? "dense" : "compact");
    hash_add_text(h, r->experiment_id);
    hash_add_text(h, line);
    /* Newer keys only where they say something: what older files are called stays true. */
    if (*c->network) {
      snprintf(line, sizeof line, ";network=%.200s", c->network);
      hash_add_text(h, line);
    }
    if (c->repetition != 1) {
      snprintf(line, sizeof line, ";repetition=%lld", (long long)c->repetition);
      hash_add_text(h, line);
    }
    hash_finish(h, r->run_id);
  }
  free(canonical);
  return code;
}
