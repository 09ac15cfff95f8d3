/* Assembling a run: find files, settle what was left open, make the model, load its weights, take memory. */
#include "train/run.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "linalg/linalg.h"
#include "store/file.h"
#include "train/adapter_file.h"
#include "train/export.h"
#include "train/identity.h"
#include "train/internal.h"
#include "train/placement.h"
#include "train/start.h"
#include "train/weights.h"

enum { SHARD_TOKENS = 256, MAX_STEPS = 10000000 }; /* below about 200 rows products lose speed */

int run_find_file(const char *key, const char *name, const char *variable, const char *hint, char *path, size_t bytes) {
  const char *root = getenv(variable);
  TRY(text_format(path, bytes, "%s", name));
  if (access(path, R_OK) == 0) return ERROR_NONE;
  if (name[0] != '/' && root && *root) {
    TRY(text_format(path, bytes, "%s/%s", root, name));
    if (access(path, R_OK) == 0) return ERROR_NONE;
    return FAIL(ERROR_INPUT, hint, "%s: cannot read '%s', neither as given nor below %s (%s)", key, name, variable, root);
  }
  return FAIL(ERROR_INPUT, hint, "%s: cannot read '%s'", key, name);
}

/* ---- data and open values ---- */

static int settle_int(config *c, const char *key, int64_t value) {
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)value);
  return config_resolve(c, key, text);
}

static int settle_real(config *c, const char *key, double value) {
  char text[32];
  snprintf(text, sizeof text, "%.9g", value);
  return config_resolve(c, key, text);
}

static int settle_task(run *r) {
  config *c = r->config;
  const char *metric = r->data->metric;
  if (c->task.objective < 0) TRY(config_resolve(c, "task.objective", r->data->objective));
  if (c->task.objective == OBJECTIVE_MLM) metric = "loss";
  if (c->task.metric < 0) TRY(config_resolve(c, "task.metric", metric));
  r->metric = (metric_kind)c->task.metric;
  int labels_are_classes = !strcmp(r->data->objective, "classify");
  if (c->task.objective == OBJECTIVE_CLASSIFY && !labels_are_classes)
    return FAIL(ERROR_USAGE, "leave task.objective out", "task.objective is classify, but the labels of %s are no classes", r->data->path);
  int fits = r->metric == METRICS_LOSS ||
             (c->task.objective == OBJECTIVE_CLASSIFY ? r->metric <= METRICS_MATTHEWS : c->task.objective == OBJECTIVE_REGRESS && r->metric >= METRICS_PEARSON);
  if (!fits) return FAIL(ERROR_USAGE, "leave task.metric out for the data set's own", "task.metric=%s does not fit the objective", metric_names[r->metric]);
  if (c->task.objective == OBJECTIVE_MLM && r->data->mask_token < 0)
    return FAIL(ERROR_USAGE, NULL, "%s: its tokenizer has no mask token, which masked language modelling needs", r->data->path);
  return ERROR_NONE;
}

/* Shards follow from the data and the batch, never from ranks or threads: they are part of a run's identity. */
static int settle_shards(run *r, int training) {
  config *c = r->config;
  const split *train = &r->data->splits[SPLIT_TRAIN];
  if (c->shards < 0) {
    double mean = (double)train->offset[train->count] / (double)train->count;
    int64_t shards = (int64_t)ceil((double)c->train.batch * mean / SHARD_TOKENS);
    TRY(settle_int(c, "shards", shards < 2 ? 2 : shards));
  }
  int ranks = comm_size(r->comm);
  r->shards = (int)c->shards;
  r->threads = (int)c->threads;
  if (!training) return ERROR_NONE;
  if (r->shards < ranks) {
    char hint[64];
    snprintf(hint, sizeof hint, "set shards=%d (or a multiple), or use fewer ranks", ranks);
    return FAIL(ERROR_USAGE, hint, "%d ranks share %d shards: some would have nothing to do", ranks, r->shards);
  }
  if (r->shards < ranks * r->threads)
    log_warning("%d shards for %d ranks x %d threads: some threads will idle (shards=%d would use all)", r->shards, ranks, r->threads, ranks * r->threads);
  else if (r->shards % (ranks * r->threads) && r->shards < 8 * ranks * r->threads)
    log_warning("%d shards for %d ranks x %d threads: some have one more to do than others, and these wait (shards=%d would be even)", r->shards, ranks,
                r->threads, (r->shards + ranks * r->threads - 1) / (ranks * r->threads) * ranks * r->threads);
  return ERROR_NONE;
}

static int settle_training(run *r) {
  config *c = r->config;
  if (isnan(c->train.lr_head)) TRY(settle_real(c, "train.lr_head", c->train.lr));
  if (isnan(c->train.decay_head)) TRY(settle_real(c, "train.decay_head", c->train.decay));
  TRY(batch_plan_create(&r->data->splits[SPLIT_TRAIN], c->task.limit, (int)c->train.batch, r->shards, (uint64_t)c->seed, r->memory, &r->plan));
  if (c->train.steps < 0) TRY(settle_int(c, "train.steps", c->train.epochs * r->plan.steps_per_epoch));
  r->steps = c->train.steps;
  if (r->steps > MAX_STEPS) /* every step is laid out once before the first, to size memory */
    return FAIL(ERROR_USAGE, "use a larger train.batch", "%lld steps are more than a run may have (%d)", (long long)r->steps, MAX_STEPS);
  r->masking = (batch_masking){.rate = c->task.objective == OBJECTIVE_MLM ? c->task.mask_rate : 0,
                               .mask_token = r->data->mask_token,
                               .first_word = r->data->first_word,
                               .vocabulary = r->data->vocabulary,
                               .seed = (uint64_t)c->seed};
  return ERROR_NONE;
}

/* One library for all ranks: what one of them has not, none uses, unless it was asked for by name or by a precision that no other has. */
static int settle_linalg(run *r) {
  config *c = r->config;
  double lacks = c->linalg < 0 && c->precision == PRECISION_F32 && linalg_backend_check(LINALG_ONEDNN, LINALG_F32) != ERROR_NONE;
  TRY(comm_max_doubles(r->comm, COMM_CONTROL, &lacks, 1));
  if (c->linalg < 0) TRY(config_resolve(c, "linalg", linalg_backend_names[lacks > 0 ? LINALG_OPENBLAS : LINALG_ONEDNN]));
  return linalg_backend_check((linalg_backend)c->linalg, (linalg_precision)c->precision);
}

/* What the method made of options that were left to it. */
static int settle_method(run *r) {
  const adapter *a = model_adapter(r->model);
  if (r->config->model.dropout_adapter > 0 && !(a->method->flags & METHOD_DROPS_INPUT))
    log_warning("model.dropout_adapter has no effect: %s has no branch with an input of its own", a->method->title);
  if (r->config->model.adapter_dropout != ADAPTER_DROPOUT_SHARED && r->config->model.dropout_adapter <= 0)
    log_warning("model.adapter_dropout has no effect: model.dropout_adapter is 0");
  for (int i = 0; i < a->resolved_count; i++) {
    char key[64];
    TRY(text_format(key, sizeof key, "method.%s", a->resolved[i].name));
    TRY(settle_int(r->config, key, a->resolved[i].value));
  }
  return ERROR_NONE;
}

/* ---- model ---- */

static int own_shape(run *r, model_shape *shape) {
  const config *c = r->config;
  *shape = (model_shape){.layers = (int)c->model.layers,
                         .width = (int)c->model.width,
                         .heads = (int)c->model.heads,
                         .ffn = (int)c->model.ffn,
                         .vocabulary = r->data->vocabulary,
                         .positions = (int)c->model.positions,
                         .types = 2,
                         .norm_epsilon = 1e-12};
  TRY(family_find(c->model.family, &shape->family));
  return model_shape_check(shape, "model");
}

static int check_data_fits(const run *r, const model_shape *shape) {
  int places = shape->positions - shape->family->position_offset;
  if (r->data->vocabulary > shape->vocabulary)
    return FAIL(ERROR_INPUT, "prepare the data with this model's tokenizer", "%s: its tokenizer has %d tokens, the model %d", r->data->path,
                r->data->vocabulary, shape->vocabulary);
  if (r->data->longest > places)
    return FAIL(ERROR_INPUT, "prepare the data with a smaller --max-tokens", "%s: a sequence has %d tokens, the model takes %d", r->data->path,
                r->data->longest, places);
  return ERROR_NONE;
}

static int make_model(run *r, const char *directory, int training) {
  const config *c = r->config;
  const method *chosen;
  model_shape shape;
  if (c->model.init == INIT_RANDOM) TRY(own_shape(r, &shape));
  else TRY(weights_read_shape(directory, &shape));
  TRY(check_data_fits(r, &shape));
  if (!*c->method.name) return FAIL(ERROR_USAGE, "for example method=lora; see: peftscale list methods", "no method is chosen");
  TRY(method_find(c->method.name, &chosen));
  model_options options = {.pooling = (model_pooling)c->model.pooling,
                           .head = (model_head)c->model.head,
                           .objective = (model_objective)c->task.objective,
                           .classes = c->task.objective == OBJECTIVE_CLASSIFY ? r->data->class_count : 1,
                           .dropout_embedding = c->model.dropout_embedding,
                           .dropout_attention = c->model.dropout_attention,
                           .dropout_hidden = c->model.dropout_hidden,
                           .dropout_adapter = c->model.dropout_adapter,
                           .drops_per_site = c->model.adapter_dropout == ADAPTER_DROPOUT_PER_SITE,
                           .dropout_head = c->model.dropout_head,
                           .seed = (uint64_t)c->seed,
                           .backend = (linalg_backend)c->linalg,
                           .precision = (linalg_precision)c->precision,
                           .lean = training && !*c->output.export_dir}; /* what is merged or exported is so from plain weights */
  uint8_t *words;
  TRY(arena_take(r->memory, (size_t)shape.vocabulary, sizeof *words, &words));
  dataset_mark_tokens(r->data, words);
  options.words = words;
  TRY(model_create(&shape, &options, chosen, &c->method.options, &r->model));
  r->theta_count = model_theta_count(r->model);
  return settle_method(r);
}

static int fill_store(run *r, const char *directory) {
  return r->config->model.init == INIT_PRETRAINED ? weights_load(r->model, directory, r->weights_hash) : model_randomize(r->model);
}

/* digits become that of rank 0. Whoever filled a store from other files would compute nonsense that every rank agrees on, since sums and theta are the same. */
static int compare_weights(comm *c, int filler, char digits[HASH_TEXT_BYTES]) {
  char own[HASH_TEXT_BYTES];
  memcpy(own, digits, sizeof own);
  TRY(comm_broadcast(c, COMM_CONTROL, 0, digits, HASH_TEXT_BYTES));
  int code = ERROR_NONE;
  if (filler && strcmp(own, digits))
    code = FAIL(ERROR_INPUT, "give all nodes equal copies of the model", "the base weights on %s differ from those of rank 0 (%.8s, not %.8s)", comm_host(c),
                own, digits);
  return comm_agree(c, code);
}

/* One copy of the frozen numbers per node, hashed by whoever fills it. */
static int load_model(run *r, const char *directory) {
  comm *c = r->comm;
  int filler, code;
  TRY(comm_agree(c, comm_share(c, (size_t)model_store_count(r->model) * sizeof(real), &r->store, &filler, &r->store_copies)));
  TRY(comm_agree(c, model_attach(r->model, r->store)));
  snprintf(r->weights_hash, sizeof r->weights_hash, "random");
  code = filler ? fill_store(r, directory) : ERROR_NONE; /* rank 0 is the first of its node, so it always fills */
  TRY(comm_agree(c, code));
  TRY(comm_share_wait(c));
  return compare_weights(c, filler, r->weights_hash);
}

/* ---- memory ---- */

/* All steps are laid out once. With trained embeddings numbers stay at home because no rank's batch reaches them. */
static int measure_steps(run *r) {
  int leaves_out = r->config->payload == PAYLOAD_COMPACT && model_reaches(r->model);
  double packed = (double)r->theta_count;
  TRY(batch_plan_measure(&r->plan, r->steps, &r->sizes, r->order_hash, leaves_out ? r->model : NULL, &packed));
  r->left_out = llround((double)r->theta_count - packed);
  return ERROR_NONE;
}

/* The head is a part of a step's message or travels beside it. */
static int measure_message(run *r) {
  method_counts counts;
  TRY(model_counts(r->model, &counts));
  int is_exact = r->config->reduce == REDUCE_EXACT, width = is_exact ? 8 : 4;
  int64_t numbers = r->config->payload == PAYLOAD_DENSE ? counts.trainable : counts.sent_floats - r->left_out;
  int64_t segments = model_segment_count(r->model);
  TRY(head_settle(r, width * payload_of(is_exact, numbers, segments).sums, width));
  r->message_bytes =
      payload_of(is_exact, numbers, segments).bytes + (r->config->head_reduce == HEAD_REDUCE_FACTORS ? r->head.factor_bytes : r->head.dense_bytes);
  return ERROR_NONE;
}

/* What a step's sum needs. Ranks rely on each other after this: nothing more is taken later. */
static int take_message(run *r) {
  size_t count = (size_t)r->theta_count + TAIL_FLOATS;
  int packs = model_is_packed(r->model) && r->config->payload == PAYLOAD_COMPACT, in_place = packs && model_packs_in_place(r->model);
  r->message = r->gradient[0];
  if (in_place) r->packed = r->message;
  else if (packs) TRY(arena_take(r->memory, count, sizeof(real), &r->packed));
  if (r->config->reduce == REDUCE_FLOAT) return ERROR_NONE;
  TRY(arena_take(r->memory, (size_t)model_segment_count(r->model), sizeof *r->segment_counts, &r->segment_counts));
  if (packs) {
    TRY(arena_take(r->memory, (size_t)r->threads, sizeof *r->thread_packed, &r->thread_packed));
    for (int t = 0; t < r->threads; t++) {
      if (in_place) r->thread_packed[t] = r->gradient[t];
      else TRY(arena_take(r->memory, count, sizeof(real), &r->thread_packed[t]));
    }
  }
  return exact_create(r->model, r->theta_count, r->threads, r->shards, r->memory, &r->exact);
}

/* For shards and evaluation groups of at most r->sizes. */
static int take_workspace(run *r, int thread, int training) {
  const batch_sizes *s = &r->sizes;
  TRY(model_workspace_create(r->model, s->tokens, s->sequences, r->masking.rate > 0 ? s->tokens : 0, s->squares, training, &r->workspaces[thread]));
  return batch_pack_create(s, r->memory, &r->packs[thread]);
}

static int take_memory(run *r, int training) {
  for (int s = 0; s < SPLIT_COUNT; s++) TRY(evaluation_measure(&r->data->splits[s], &r->sizes));
  size_t theta = (size_t)r->theta_count, threads = (size_t)r->threads;
  TRY(arena_take(r->memory, theta, sizeof(real), &r->theta));
  TRY(arena_take(r->memory, theta, sizeof(real), &r->chosen));
  TRY(arena_take(r->memory, threads, sizeof *r->workspaces, &r->workspaces));
  TRY(arena_take(r->memory, threads, sizeof *r->packs, &r->packs));
  TRY(arena_take(r->memory, threads, sizeof *r->gradient, &r->gradient));
  for (int t = 0; t < r->threads; t++) {
    TRY(take_workspace(r, t, training));
    if (training) TRY(arena_take(r->memory, theta + TAIL_FLOATS, sizeof(real), &r->gradient[t]));
  }
  if (!training) return ERROR_NONE;
  TRY(head_take(r));
  return take_message(r);
}

int run_fit(run *r, const split *part) {
  const batch_sizes before = r->sizes;
  TRY(evaluation_measure(part, &r->sizes));
  if (r->sizes.tokens == before.tokens && r->sizes.sequences == before.sequences && r->sizes.squares == before.squares) return ERROR_NONE;
  for (int t = 0; t < r->threads; t++) {
    model_workspace_destroy(r->workspaces[t]);
    r->workspaces[t] = NULL;
    TRY(take_workspace(r, t, 0));
  }
  return ERROR_NONE;
}

static int name_run_file(run *r) {
  const config *c = r->config;
  if (strcmp(c->output.name, "auto")) return text_format(r->path, sizeof r->path, "%s/%s.h5", c->output.dir, c->output.name);
  char task[64];
  snprintf(task, sizeof task, "%.63s", *c->task.name ? c->task.name : r->data->name);
  for (char *letter = task; *letter; letter++)
    if (!isalnum((unsigned char)*letter) && !strchr("-_.", *letter)) *letter = '-'; /* a data set's name may hold anything */
  return text_format(r->path, sizeof r->path, "%s/%s-%s-s%lld-%.8s.h5", c->output.dir, task, c->method.name, (long long)c->seed, r->run_id);
}

/* What is wrong with it is found out now, not after hours of training. */
static int prepare_output(run *r) {
  const config *c = r->config;
  TRY(name_run_file(r));
  if (comm_rank(r->comm) != 0) return ERROR_NONE;
  TRY(file_make_directory(c->output.dir));
  TRY(file_check_writable(c->output.dir));
  return *c->output.export_dir ? export_prepare(c, c->output.export_dir) : ERROR_NONE;
}

/* Ranks that were started with other words are found out in identify, and must not wait for each other here. */
static int settle_sum(run *r) {
  double wanted = r->config->node_reduce == NODE_REDUCE_ON;
  TRY(comm_max_doubles(r->comm, COMM_CONTROL, &wanted, 1));
  if (wanted == 0) return ERROR_NONE;
  r->changed_sum = 1;
  TRY(comm_sum_setup(r->comm, COMM_BUCKET_BYTES, 1, &r->adds_on_node));
  if (!r->adds_on_node && comm_nodes(r->comm) < comm_size(r->comm))
    log_warning("node_reduce: the shared memory of some node is too small (/dev/shm): its ranks are treated as any others");
  return ERROR_NONE;
}

/* Equal bits need equal arithmetic: one program, and one kind of kernels, the BLAS library's and our own. */
static int check_one_build(run *r) {
  char text[256];
  int same;
  snprintf(text, sizeof text, "%s %.60s %.100s %.60s", r->binary_hash, linalg_core(), linalg_library(), linalg_onednn());
  TRY(comm_same_text(r->comm, text, &same));
  return same ? ERROR_NONE
              : FAIL(ERROR_SYSTEM, "use nodes of one kind, or set OPENBLAS_CORETYPE, ONEDNN_MAX_CPU_ISA and PEFTSCALE_KERNELS to what all of them can run",
                     "reduce=exact needs one program and one kind of kernels (OpenBLAS, oneDNN, our own) on all ranks, and they differ");
}

/* Ranks that read other files (copies on their nodes) or were started with other words would train nonsense. */
static int identify(run *r) {
  const config *conf = r->config;
  char text[256];
  int same;
  int code = identity_make(r);
  if (!code) code = hash_file("/proc/self/exe", r->binary_hash);
  TRY(comm_agree(r->comm, code));
  /* With what decides who waits for whom, and is no part of the experiment. */
  snprintf(text, sizeof text, "%s %lld %lld %lld %lld %lld %lld", r->experiment_id, (long long)conf->reduce, (long long)conf->payload,
           (long long)conf->node_reduce, (long long)conf->head_reduce, (long long)conf->check_every, (long long)conf->sample_every);
  TRY(comm_same_text(r->comm, text, &same));
  if (!same) return FAIL(ERROR_INPUT, "give all ranks the same arguments and equal copies of the data", "the ranks' configurations or data sets differ");
  return conf->reduce == REDUCE_EXACT ? check_one_build(r) : ERROR_NONE;
}

static int check_keep(const run *r) {
  if (r->config->train.keep == KEEP_LAST || r->data->splits[SPLIT_VALIDATION].count > 0) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "set train.keep=last", "train.keep is best, but the validation split of %s is empty", r->data->path);
}

/* What every rank can do without the others. */
static int assemble_alone(run *r, int training, char *directory, size_t bytes) {
  const config *c = r->config;
  char path[4096];
  if (!*c->task.data) return FAIL(ERROR_USAGE, "for example task=trec6, or task.data=FILE.h5", "no data set is chosen");
  TRY(run_find_file("task.data", c->task.data, "PEFTSCALE_DATA",
                    "prepare it (experiments/prepare/README.md), or set PEFTSCALE_DATA to the directory that holds it", path, sizeof path));
  TRY(dataset_open(path, &r->data));
  TRY(settle_task(r));
  TRY(settle_shards(r, training));
  TRY(settle_training(r));
  if (training) TRY(check_keep(r));
  if (c->model.init == INIT_PRETRAINED) {
    if (!*c->model.path) return FAIL(ERROR_USAGE, "for example model=minilm-l6, or model.path=DIRECTORY", "no model is chosen");
    TRY(run_find_file("model.path", c->model.path, "PEFTSCALE_ASSETS", "give a Hugging Face directory, or set PEFTSCALE_ASSETS to the one that holds it",
                      directory, bytes));
  }
  TRY(make_model(r, directory, training));
  r->sizes = (batch_sizes){1, 1, 1};
  if (training) TRY(measure_steps(r));
  if (training) TRY(measure_message(r));
  return start_open(r, training);
}

static int assemble(run *r, int training) {
  char directory[4096] = "";
  TRY(comm_agree(r->comm, identity_request(r->config, comm_size(r->comm), r->request_id)));
  TRY(comm_agree(r->comm, settle_linalg(r)));
  TRY(comm_agree(r->comm, assemble_alone(r, training, directory, sizeof directory)));
  TRY(load_model(r, directory));
  if (training) TRY(placement_check(r->comm, r->threads, &r->binding));
  if (training) TRY(settle_sum(r));
  TRY(identify(r));
  TRY(comm_agree(r->comm, take_memory(r, training)));
  TRY(comm_agree(r->comm, model_init_theta(r->model, r->theta)));
  TRY(comm_agree(r->comm, start_load(r)));
  hash_bytes(r->theta, (size_t)r->theta_count * sizeof(real), r->theta_hash);
  if (training) TRY(comm_agree(r->comm, prepare_output(r)));
  r->start_s = clock_since_start_s() - r->began_s;
  return ERROR_NONE;
}

/* The start of the process, of MPI above all, is part of what its first run costs. */
static double beginning_s(void) {
  static int is_later;
  return is_later++ ? clock_since_start_s() : 0;
}

int run_create(comm *c, config *conf, int training, run **result) {
  run *r = calloc(1, sizeof *r);
  *result = NULL;
  int code = r ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
  if (!code) {
    r->config = conf;
    r->comm = c;
    r->began_s = beginning_s();
    r->checkpoint_at_s = INFINITY;
    code = arena_create(&r->memory);
  }
  comm_meters_begin(c);
  code = comm_agree(c, code);
  if (!code) code = assemble(r, training);
  if (code) {
    if (r) run_destroy(r);
    else config_destroy(conf);
  } else {
    *result = r;
  }
  return code;
}

void run_observe(run *r, void (*step)(void *context, int64_t done, int64_t steps), void *context) {
  r->observer = (run_observer){.step = step, .context = context};
}

void run_destroy(run *r) {
  if (!r) return;
  error kept = *error_last();
  exact_destroy(r->exact);
  if (r->changed_sum) (void)comm_sum_setup(r->comm, COMM_BUCKET_BYTES, 0, &r->adds_on_node); /* the next run finds what a new process finds */
  for (int t = 0; r->workspaces && t < r->threads; t++) model_workspace_destroy(r->workspaces[t]);
  adapter_file_close(r->start);
  model_destroy(r->model);
  energy_close(r->energy);
  comm_unshare(r->comm, r->store);
  dataset_destroy(r->data);
  config_destroy(r->config);
  arena_destroy(r->memory);
  free(r);
  error_restore(&kept);
}
