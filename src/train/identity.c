#include "train/identity.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "linalg/linalg.h"

const char *identity_backend(const config *c, char text[IDENTITY_BACKEND_BYTES]) {
  snprintf(text, IDENTITY_BACKEND_BYTES, "precision=%s;backend=%s", linalg_precision_names[c->precision], linalg_backend_names[c->linalg]);
  return text;
}

int identity_of(const identity_parts *p, char experiment_id[HASH_TEXT_BYTES], char run_id[HASH_TEXT_BYTES]) {
  const config *c = p->config;
  char line[256];
  hash *h;
  TRY(hash_create(&h));
  hash_add_text(h, p->canonical);
  hash_add_text(h, p->weights_hash);
  hash_add_text(h, p->dataset_hash);
  if (*p->start_hash) hash_add_text(h, p->start_hash);
  hash_add_text(h, p->backend);
  hash_finish(h, experiment_id);
  TRY(hash_create(&h));
  snprintf(line, sizeof line, "ranks=%d;threads=%d;nodes=%d;reduce=%s;payload=%s", p->ranks, p->threads, p->nodes,
           c->reduce == REDUCE_EXACT ? "exact" : "float", c->payload == PAYLOAD_DENSE ? "dense" : "compact");
  hash_add_text(h, experiment_id);
  hash_add_text(h, line);
  /* Newer keys only where they say something: what older files are called stays true. */
  if (c->head_reduce == HEAD_REDUCE_FACTORS) hash_add_text(h, ";head_reduce=factors");
  if (c->node_reduce == NODE_REDUCE_ON) hash_add_text(h, ";node_reduce=on");
  if (*c->network) {
    snprintf(line, sizeof line, ";network=%.200s", c->network);
    hash_add_text(h, line);
  }
  if (c->repetition != 1) {
    snprintf(line, sizeof line, ";repetition=%lld", (long long)c->repetition);
    hash_add_text(h, line);
  }
  hash_finish(h, run_id);
  return ERROR_NONE;
}

int identity_make(run *r) { return identity_on_nodes(r, comm_nodes(r->comm), r->experiment_id, r->run_id); }

int identity_on_nodes(const run *r, int nodes, char experiment_id[HASH_TEXT_BYTES], char run_id[HASH_TEXT_BYTES]) {
  char *canonical, backend[IDENTITY_BACKEND_BYTES];
  TRY(config_canonical(r->config, &canonical));
  const identity_parts parts = {.canonical = canonical,
                                .weights_hash = r->weights_hash,
                                .dataset_hash = r->data->hash,
                                .start_hash = r->start_hash,
                                .backend = identity_backend(r->config, backend),
                                .ranks = comm_size(r->comm),
                                .threads = r->threads,
                                .nodes = nodes,
                                .config = r->config};
  int code = identity_of(&parts, experiment_id, run_id);
  free(canonical);
  return code;
}

int identity_request(const config *c, int ranks, char text[HASH_TEXT_BYTES]) {
  char *canonical, line[256];
  hash *h;
  TRY(config_canonical(c, &canonical));
  int code = hash_create(&h);
  if (!code) hash_add_text(h, canonical);
  free(canonical);
  TRY(code);
  hash_add_text(h, c->task.data);
  hash_add_text(h, c->model.init == INIT_PRETRAINED ? c->model.path : ""); /* a new backbone has none */
  hash_add_text(h, c->train.start);
  snprintf(line, sizeof line, "ranks=%d;threads=%lld;reduce=%lld;payload=%lld;head_reduce=%lld;node_reduce=%lld;repetition=%lld;test=%lld", ranks,
           (long long)c->threads, (long long)c->reduce, (long long)c->payload, (long long)c->head_reduce, (long long)c->node_reduce, (long long)c->repetition,
           (long long)c->output.test);
  hash_add_text(h, line);
  hash_add_text(h, c->network);
  hash_finish(h, text);
  return ERROR_NONE;
}
