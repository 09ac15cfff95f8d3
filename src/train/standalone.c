#include "train/standalone.h"

#include <stdlib.h>

#include "base/error.h"
#include "train/weights.h"

static int make(standalone *s, const model_shape *shape, int classes) {
  const config *c = s->config;
  const method *chosen;
  TRY(arena_create(&s->memory));
  TRY(method_find(c->method.name, &chosen));
  model_options options = {.pooling = (model_pooling)c->model.pooling,
                           .head = (model_head)c->model.head,
                           .objective = c->task.objective < 0 ? MODEL_CLASSIFY : (model_objective)c->task.objective,
                           .classes = classes,
                           .seed = (uint64_t)c->seed};
  TRY(model_create(shape, &options, chosen, &c->method.options, &s->model));
  return arena_take(s->memory, (size_t)model_theta_count(s->model), sizeof *s->theta, &s->theta);
}

int standalone_create(config *c, const model_shape *shape, int classes, standalone **result) {
  *result = NULL;
  standalone *s = calloc(1, sizeof *s);
  if (!s) {
    config_destroy(c);
    return FAIL(ERROR_MEMORY, NULL, "out of memory");
  }
  s->config = c;
  int code = make(s, shape, classes);
  if (code) standalone_destroy(s);
  else *result = s;
  return code;
}

void standalone_destroy(standalone *s) {
  if (!s) return;
  model_destroy(s->model);
  config_destroy(s->config);
  arena_destroy(s->memory);
  free(s);
}

int standalone_prepare(standalone *s) { return model_attach(s->model, NULL); }

int standalone_load(standalone *s, const char *directory) {
  TRY(arena_take(s->memory, (size_t)model_store_count(s->model), sizeof *s->store, &s->store));
  TRY(model_attach(s->model, s->store));
  TRY(weights_load(s->model, directory, s->weights_hash));
  return model_init_theta(s->model, s->theta);
}
