/* One method on one model and one batch, laid open for comparison with another implementation: logits, loss, gradients and a few AdamW steps.
 *
 *   probe model=DIR method=NAME [method.KEY=VALUE ...] classes=N start=FILE
 *   probe model=DIR method=NAME [method.KEY=VALUE ...] classes=N [constants=FILE] state=FILE batch=FILE [lr=X decay=X epsilon=X steps=N] out=FILE
 *
 * model      a Hugging Face directory: config.json and safetensors
 * constants  what the method takes from a file (method.projection=file); indices are float32 there, too
 * start      receives what the method begins with: one tensor per segment of theta
 * state      the same tensors with the values to work at: all segments, no others
 * batch      a text file, a line per sequence: its label, then its token ids
 * out        receives logits [sequences][classes], loss [1] (the sum over the sequences), gradient/SEGMENT (of that sum), losses [steps] (each before its
 *            update) and after/SEGMENT (theta behind the last update)
 *
 * The head is mean pooling and one linear map; there is no dropout; the learning rate is constant and, like the decay, the same for all segments.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "linalg/linalg.h"
#include "optim/optim.h"
#include "store/file.h"
#include "support/tiny.h"
#include "train/weights.h"

enum { MAX_CONFIG_JSON = 1 << 20, NAME_BYTES = METHOD_NAME_BYTES + 16 };

/* ---- what is asked for ---- */

typedef struct request {
  const char *model, *method, *constants, *start, *state, *batch, *out;
  int64_t classes, steps;
  double lr, decay, epsilon;
  int settings;
  const char *setting[CHOSEN_MAX]; /* KEY=VALUE of the method's options */
} request;

static int read_real(const char *key, const char *text, double *value) {
  char *end;
  *value = strtod(text, &end);
  return end == text || *end ? FAIL(ERROR_USAGE, NULL, "%s=%s is not a number", key, text) : ERROR_NONE;
}

static int read_whole(const char *key, const char *text, int64_t *value) {
  return text_to_int(text, value) || *value < 1 ? FAIL(ERROR_USAGE, NULL, "%s=%s is not a whole number from 1 on", key, text) : ERROR_NONE;
}

static int read_word(request *r, const char *word) {
  static const char method_prefix[] = "method.";
  const char *value = strchr(word, '=');
  char key[64];
  if (!value || (size_t)(value - word) >= sizeof key) return FAIL(ERROR_USAGE, NULL, "'%s' is not KEY=VALUE", word);
  snprintf(key, sizeof key, "%.*s", (int)(value++ - word), word);
  if (!strncmp(key, method_prefix, sizeof method_prefix - 1)) {
    if (r->settings == CHOSEN_MAX) return FAIL(ERROR_USAGE, NULL, "more than %d options of a method", CHOSEN_MAX);
    r->setting[r->settings++] = word + sizeof method_prefix - 1;
    return ERROR_NONE;
  }
  if (!strcmp(key, "classes")) return read_whole(key, value, &r->classes);
  if (!strcmp(key, "steps")) return read_whole(key, value, &r->steps);
  if (!strcmp(key, "lr")) return read_real(key, value, &r->lr);
  if (!strcmp(key, "decay")) return read_real(key, value, &r->decay);
  if (!strcmp(key, "epsilon")) return read_real(key, value, &r->epsilon);
  const struct {
    const char *key, **text;
  } texts[] = {{"model", &r->model}, {"method", &r->method}, {"constants", &r->constants}, {"start", &r->start}, {"state", &r->state},
               {"batch", &r->batch}, {"out", &r->out}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (!strcmp(key, texts[i].key)) {
      *texts[i].text = value;
      return ERROR_NONE;
    }
  return FAIL(ERROR_USAGE, NULL, "there is no '%s'", key);
}

static int read_request(int count, char **words, request *r) {
  *r = (request){.classes = 2, .steps = 20, .lr = 1e-3, .epsilon = 1e-8};
  for (int i = 1; i < count; i++) TRY(read_word(r, words[i]));
  if (!r->model || !r->method) return FAIL(ERROR_USAGE, NULL, "model=DIR and method=NAME are needed");
  if (!r->start && !(r->state && r->batch && r->out)) return FAIL(ERROR_USAGE, NULL, "start=FILE, or state=FILE, batch=FILE and out=FILE are needed");
  return ERROR_NONE;
}

/* ---- the model ---- */

typedef struct probe {
  chosen_options chosen;
  char key[CHOSEN_MAX][64];
  model *model;
  model_workspace *workspace;
  optim *optim;
  packed_batch batch;
  real *store, *theta, *grad;
} probe;

static void probe_destroy(probe *p) {
  if (!p) return;
  optim_destroy(p->optim);
  model_workspace_destroy(p->workspace);
  model_destroy(p->model);
  free(p->store);
  free(p->theta);
  free(p->grad);
  free(p);
}

static int choose_options(probe *p, const request *r, const method *m) {
  TRY(options_default(m, &p->chosen));
  for (int i = 0; i < r->settings; i++) {
    const char *value = strchr(r->setting[i], '=') + 1;
    snprintf(p->key[i], sizeof p->key[i], "%.*s", (int)(value - 1 - r->setting[i]), r->setting[i]);
    if (!option_find(&p->chosen.set, p->key[i])) return FAIL(ERROR_USAGE, NULL, "%s has no option '%s'", m->name, p->key[i]);
    TRY(options_change(&p->chosen, p->key[i], value));
  }
  return ERROR_NONE;
}

static int probe_fill(probe *p, const request *r) {
  const method *m;
  model_shape shape;
  model_options options = {.pooling = MODEL_POOL_MEAN, .head = MODEL_HEAD_LINEAR, .objective = MODEL_CLASSIFY, .classes = (int)r->classes, .seed = 1};
  TRY(method_find(r->method, &m));
  TRY(choose_options(p, r, m));
  TRY(weights_read_shape(r->model, &shape));
  TRY(model_create(&shape, &options, m, &p->chosen.set, &p->model));
  p->store = calloc((size_t)model_store_count(p->model), sizeof *p->store);
  p->theta = calloc((size_t)model_theta_count(p->model), sizeof *p->theta);
  p->grad = calloc((size_t)model_theta_count(p->model), sizeof *p->grad);
  if (!p->store || !p->theta || !p->grad) return FAIL(ERROR_MEMORY, NULL, "out of memory for the model");
  model_attach(p->model, p->store);
  TRY(weights_load(p->model, r->model, NULL));
  return model_init_theta(p->model, p->theta);
}

static int probe_create(const request *r, probe **result) {
  *result = calloc(1, sizeof **result);
  if (!*result) return FAIL(ERROR_MEMORY, NULL, "out of memory for a probe");
  return probe_fill(*result, r);
}

/* ---- constants, state and batch ---- */

static int read_tensor(const safetensors *file, const char *name, int64_t count, real *values) {
  int index = safetensors_find(file, name);
  if (index < 0) return FAIL(ERROR_INPUT, NULL, "%s: '%s' is missing", safetensors_path(file), name);
  if (safetensors_entry_at(file, index)->count != count)
    return FAIL(ERROR_INPUT, NULL, "%s: '%s' has %lld numbers instead of %lld", safetensors_path(file), name,
                (long long)safetensors_entry_at(file, index)->count, (long long)count);
  return safetensors_read(file, index, 0, count, values);
}

/* All of a file's tensors have been looked at: none was meant for something else. */
static int check_count(const safetensors *file, int count) {
  if (safetensors_count(file) == count) return ERROR_NONE;
  return FAIL(ERROR_INPUT, NULL, "%s holds %d tensors, not %d", safetensors_path(file), safetensors_count(file), count);
}

static int read_segments(probe *p, const safetensors *file) {
  const model *m = p->model;
  for (int i = 0; i < model_segment_count(m); i++) {
    const segment *s = model_segment(m, i);
    TRY(read_tensor(file, s->name, (int64_t)s->rows * s->cols, p->theta + s->offset));
  }
  return check_count(file, model_segment_count(m));
}

static int read_indices(const safetensors *file, const method_constant *c) {
  int64_t count = c->rows * c->cols;
  real *values = calloc((size_t)count, sizeof *values);
  if (!values) return FAIL(ERROR_MEMORY, NULL, "out of memory for '%s'", c->name);
  int code = read_tensor(file, c->name, count, values);
  for (int64_t i = 0; !code && i < count; i++) {
    c->index[i] = (int32_t)values[i];
    if (!(values[i] >= 0 && values[i] < c->limit) || c->index[i] != values[i])
      code = FAIL(ERROR_INPUT, NULL, "'%s': element %lld is no index below %lld", c->name, (long long)i, (long long)c->limit);
  }
  free(values);
  return code;
}

static int read_constants(probe *p, const safetensors *file) {
  const adapter *a = model_adapter(p->model);
  int from_file = 0;
  for (int i = 0; i < a->constant_count; i++) {
    const method_constant *c = &a->constants[i];
    if (!c->from_file) continue;
    from_file++;
    if (c->is_index) TRY(read_indices(file, c));
    else TRY(read_tensor(file, c->name, c->rows * c->cols, c->value));
  }
  return check_count(file, from_file);
}

static int read_file(probe *p, const char *path, int (*read)(probe *, const safetensors *)) {
  safetensors *file;
  TRY(safetensors_open(path, &file));
  int code = read(p, file);
  safetensors_close(file);
  return code;
}

/* One line of the batch, from row *at on. */
static int add_sequence(packed_batch *b, const model *m, int classes, char *line, int *at) {
  int s = b->view.sequences, first = *at;
  int64_t number;
  char *word = strtok(line, " ");
  if (s == BATCH_MAX_SEQUENCES) return FAIL(ERROR_INPUT, NULL, "the batch has more than %d sequences", BATCH_MAX_SEQUENCES);
  if (!word || text_to_int(word, &number) || number < 0 || number >= classes)
    return FAIL(ERROR_INPUT, NULL, "'%s' is no label of %d classes", word ? word : "", classes);
  b->label[s] = (float)number;
  while ((word = strtok(NULL, " "))) {
    if (*at == BATCH_MAX_TOKENS) return FAIL(ERROR_INPUT, NULL, "the batch has more than %d tokens", BATCH_MAX_TOKENS);
    if (text_to_int(word, &number) || number < 0 || number >= model_shape_of(m)->vocabulary) return FAIL(ERROR_INPUT, NULL, "'%s' is no token id", word);
    b->token[*at] = (int32_t)number;
    b->position[*at] = (uint64_t)(*at - first);
    b->stream[(*at)++] = (uint64_t)s;
  }
  int length = *at - first;
  if (!length || length > model_shape_of(m)->positions) return FAIL(ERROR_INPUT, NULL, "sequence %d has %d tokens", s, length);
  b->first[++b->view.sequences] = *at;
  b->squares += (int64_t)length * length;
  if (length > b->view.longest) b->view.longest = length;
  return ERROR_NONE;
}

static int fill_batch(packed_batch *b, const model *m, int classes, char *text) {
  int at = 0;
  b->view = (batch){.first = b->first, .token = b->token, .type = b->type, .position = b->position, .stream = b->stream, .label = b->label};
  for (char *line = text, *next; line; line = next) {
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    if (*line) TRY(add_sequence(b, m, classes, line, &at));
  }
  b->view.tokens = at;
  return at ? ERROR_NONE : FAIL(ERROR_INPUT, NULL, "the batch is empty");
}

static int read_batch(probe *p, const request *r) {
  char *text;
  size_t count;
  TRY(file_read(r->batch, 1 << 20, &text, &count));
  int code = fill_batch(&p->batch, p->model, (int)r->classes, text);
  free(text);
  return code ? error_prefix("%s: ", r->batch) : ERROR_NONE;
}

/* ---- results ---- */

typedef struct results {
  int count, capacity;
  safetensors_output *tensor;
  char (*name)[NAME_BYTES];
  float *values; /* of all tensors */
  int64_t used;
} results;

static void results_release(results *o) {
  free(o->tensor);
  free(o->name);
  free(o->values);
}

static int results_create(results *o, int tensors, int64_t numbers) {
  *o = (results){.capacity = tensors};
  o->tensor = calloc((size_t)tensors, sizeof *o->tensor);
  o->name = calloc((size_t)tensors, sizeof *o->name);
  o->values = calloc((size_t)numbers, sizeof *o->values);
  return o->tensor && o->name && o->values ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory for the results");
}

/* A tensor [rows][cols], or [cols] where rows is 0, under the name prefix + name; returns where its numbers go. */
static float *results_add(results *o, const char *prefix, const char *name, int rows, int cols) {
  safetensors_output *t = &o->tensor[o->count];
  float *values = o->values + o->used;
  snprintf(o->name[o->count], NAME_BYTES, "%s%s", prefix, name);
  *t = (safetensors_output){.name = o->name[o->count], .dims = rows ? 2 : 1, .shape = {rows ? rows : cols, cols}, .values = values};
  o->count++;
  o->used += (int64_t)(rows ? rows : 1) * cols;
  return values;
}

static void results_add_segments(results *o, const char *prefix, const model *m, const real *vector) {
  for (int i = 0; i < model_segment_count(m); i++) {
    const segment *s = model_segment(m, i);
    float *to = results_add(o, prefix, s->name, s->rows, s->cols);
    for (int64_t j = 0; j < (int64_t)s->rows * s->cols; j++) to[j] = (float)vector[s->offset + j];
  }
}

static int write_start(const probe *p, const char *path) {
  results o;
  int code = results_create(&o, model_segment_count(p->model), model_theta_count(p->model));
  if (!code) {
    results_add_segments(&o, "", p->model, p->theta);
    code = safetensors_write(path, o.tensor, o.count, NULL);
  }
  results_release(&o);
  return code;
}

/* ---- the work ---- */

static int gradient(probe *p, double *loss) {
  model_sums sums = {0};
  memset(p->grad, 0, (size_t)model_theta_count(p->model) * sizeof *p->grad);
  TRY(model_expand(p->model, p->theta));
  TRY(model_gradient(p->model, p->workspace, &p->batch.view, p->grad, &sums, NULL));
  TRY(model_gather(p->model, p->workspace, p->grad));
  *loss = sums.loss;
  return ERROR_NONE;
}

static int create_optim(probe *p, const request *r) {
  optim_options options = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = r->epsilon, .schedule = OPTIM_CONSTANT, .steps = r->steps};
  int count = model_segment_count(p->model);
  optim_segment *segments = calloc((size_t)count, sizeof *segments);
  if (!segments) return FAIL(ERROR_MEMORY, NULL, "out of memory for the optimiser");
  for (int i = 0; i < count; i++) {
    const segment *s = model_segment(p->model, i);
    segments[i] = (optim_segment){.offset = s->offset, .count = (int64_t)s->rows * s->cols, .rate = r->lr, .decay = r->decay};
  }
  int code = optim_create(&options, segments, count, model_theta_count(p->model), &p->optim);
  free(segments);
  return code;
}

static int work(probe *p, const request *r, results *o) {
  const batch *b = &p->batch.view;
  model_sums sums = {0};
  double loss;
  TRY(model_expand(p->model, p->theta));
  TRY(model_predict(p->model, p->workspace, b, results_add(o, "", "logits", b->sequences, (int)r->classes), &sums));
  TRY(gradient(p, &loss));
  *results_add(o, "", "loss", 0, 1) = (float)loss;
  results_add_segments(o, "gradient/", p->model, p->grad);
  float *losses = results_add(o, "", "losses", 0, (int)r->steps);
  for (int64_t step = 0; step < r->steps; step++) {
    TRY(gradient(p, &loss));
    losses[step] = (float)loss;
    double norm = optim_step(p->optim, step, p->theta, p->grad, 1.0 / b->sequences, NULL);
    if (!isfinite(norm)) return FAIL(ERROR_DIVERGED, NULL, "the gradient of step %lld is not finite", (long long)step);
  }
  results_add_segments(o, "after/", p->model, p->theta);
  return ERROR_NONE;
}

static int write_results(probe *p, const request *r) {
  results o;
  int64_t numbers = 2 * model_theta_count(p->model) + (int64_t)p->batch.view.sequences * r->classes + r->steps + 1;
  int code = results_create(&o, 2 * model_segment_count(p->model) + 3, numbers);
  if (!code) code = work(p, r, &o);
  if (!code) code = safetensors_write(r->out, o.tensor, o.count, NULL);
  results_release(&o);
  return code;
}

static int run(const request *r, probe *p) {
  if (r->start) return write_start(p, r->start);
  if (r->constants) TRY(read_file(p, r->constants, read_constants));
  TRY(read_file(p, r->state, read_segments));
  TRY(read_batch(p, r));
  TRY(create_optim(p, r));
  TRY(model_workspace_create(p->model, p->batch.view.tokens, p->batch.view.sequences, 0, p->batch.squares, 1, &p->workspace));
  return write_results(p, r);
}

int main(int count, char **words) {
  request r;
  probe *p = NULL;
  int code = linalg_setup();
  if (!code) code = read_request(count, words, &r);
  if (!code) code = probe_create(&r, &p);
  if (!code) code = run(&r, p);
  if (code) fprintf(stderr, "probe: error: %s\n", error_last()->text);
  probe_destroy(p);
  return error_exit_status(code);
}
