/* How fast training steps are: wall and CPU time, real tokens, and the share of the FMA peak that the same cores reach in the same processes before and after.
 * ranks: 2
 *
 * A run is put together from configuration words just as `peftscale train` does it, and its steps are those of a training: dropout, sum over ranks and update
 * included; no run file is written. Without words the measured case is MiniLM's shape with random weights, LoRA on q and v, dropout 0.1, batches of 32
 * sentences with lengths like SST-2's, a shard per rank and thread.
 *
 * usage: mpirun -np N bench_step [--warm N] [--steps N] [--peak SECONDS] [--json FILE] [--start FILE] [--only plan|first] [CONFIG.yaml ...] [key=value ...]
 *   --warm, --steps  steps that are not timed (8), and timed ones behind them (40)
 *   --peak           length of each probe (0.2)
 *   --json           every step's numbers, the examples of each step, peaks and memory of each rank
 *   --start          a safetensors file with the head and the adapter as they are before the first step
 *   --only plan      write the examples of each step to --json and stop
 *   --only first     train for one step with a run file and all, and tell how long it took from the start of the process to the end of that step
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "bench/made_data.h"
#include "cmd/cmd.h"
#include "linalg/linalg.h"
#include "store/file.h"
#include "store/provenance.h"
#include "store/safetensors.h"
#include "support/useful_flop.h"
#include "train/internal.h"

typedef enum part { PART_ALL, PART_PLAN, PART_FIRST } part;

typedef struct request {
  int64_t warm, steps;
  double peak_s;
  const char *json, *start;
  part only;
  arguments words;
  char shards[32], total[32], made[64], data[96]; /* assignments of our own; made: the path of the data that rank 0 has made, "" for none */
} request;

/* ---- words ---- */

static int read_count(const char *name, const char *value, int64_t low, int64_t *count) {
  return text_to_int(value, count) || *count < low || *count > 1000000
             ? FAIL(ERROR_USAGE, NULL, "%s %s is not a whole number from %d on", name, value, (int)low)
             : ERROR_NONE;
}

static int read_flag(request *r, const char *name, const char *value) {
  if (!value) return FAIL(ERROR_USAGE, NULL, "%s needs a value", name);
  if (!strcmp(name, "--warm")) return read_count(name, value, 0, &r->warm);
  if (!strcmp(name, "--steps")) return read_count(name, value, 1, &r->steps);
  if (!strcmp(name, "--peak")) {
    char *end;
    r->peak_s = strtod(value, &end);
    return *end || !(r->peak_s > 0 && r->peak_s <= 60) ? FAIL(ERROR_USAGE, NULL, "--peak %s is not a time of 0 to 60 seconds", value) : ERROR_NONE;
  }
  if (!strcmp(name, "--json")) r->json = value;
  else if (!strcmp(name, "--start")) r->start = value;
  else if (!strcmp(name, "--only") && !strcmp(value, "plan")) r->only = PART_PLAN;
  else if (!strcmp(name, "--only") && !strcmp(value, "first")) r->only = PART_FIRST;
  else return FAIL(ERROR_USAGE, "see the head of tests/bench/bench_step.c", "%s %s is not known", name, value);
  return ERROR_NONE;
}

static int has_section(const arguments *a, const char *name) {
  size_t length = strlen(name);
  for (int i = 0; i < a->assignment_count; i++)
    if (!strncmp(a->assignments[i], name, length) && strchr(".=", a->assignments[i][length])) return 1;
  return a->word_count > 0; /* a file may say it */
}

static void put_before(arguments *a, const char *word) {
  memmove(a->assignments + 1, a->assignments, (size_t)a->assignment_count * sizeof *a->assignments);
  a->assignments[0] = word;
  a->assignment_count++;
}

static const char *const minilm_shape[] = {"model.init=random",
                                           "model.layers=6",
                                           "model.width=384",
                                           "model.heads=12",
                                           "model.ffn=1536",
                                           "model.positions=512",
                                           "model.dropout_hidden=0.1",
                                           "model.dropout_attention=0.1",
                                           "model.dropout_embedding=0.1",
                                           "model.dropout_head=0.1"};
enum { OWN_WORDS = 16 };

/* What the words leave open; they come last and win. */
static int complete(request *r, comm *c) {
  arguments *a = &r->words;
  if (!has_section(a, "model"))
    for (size_t i = 0; i < sizeof minilm_shape / sizeof *minilm_shape; i++) put_before(a, minilm_shape[i]);
  if (!has_section(a, "method")) put_before(a, "method=lora");
  if (!has_section(a, "task")) {
    int code = comm_rank(c) == 0 ? made_data_write(r->made, sizeof r->made) : ERROR_NONE;
    TRY(comm_agree(c, code));
    TRY(comm_broadcast(c, COMM_CONTROL, 0, r->made, sizeof r->made));
    snprintf(r->data, sizeof r->data, "task.data=%s", r->made);
    put_before(a, r->data);
  }
  put_before(a, "train.keep=last");
  put_before(a, r->shards);
  snprintf(r->total, sizeof r->total, "train.steps=%lld", (long long)(r->only == PART_FIRST ? 1 : r->warm + r->steps));
  a->assignments[a->assignment_count++] = r->total;
  return ERROR_NONE;
}

static int read_words(request *r, comm *c, int count, char **words) {
  int64_t threads = 1;
  *r = (request){.warm = 8, .steps = 40, .peak_s = 0.2};
  for (int i = 1; i < count; i++) {
    if (r->words.assignment_count + r->words.word_count >= ARGUMENTS_MAX - OWN_WORDS) return FAIL(ERROR_USAGE, NULL, "too many words");
    if (!strncmp(words[i], "--", 2)) {
      TRY(read_flag(r, words[i], i + 1 < count ? words[i + 1] : NULL));
      i++;
    } else if (strchr(words[i], '=')) {
      r->words.assignments[r->words.assignment_count++] = words[i];
      if (!strncmp(words[i], "threads=", 8) && (text_to_int(words[i] + 8, &threads) || threads < 1)) threads = 1; /* refused with the configuration */
    } else {
      r->words.words[r->words.word_count++] = words[i];
    }
  }
  if (r->only == PART_PLAN && !r->json) return FAIL(ERROR_USAGE, NULL, "--only plan needs --json FILE");
  snprintf(r->shards, sizeof r->shards, "shards=%lld", (long long)(comm_size(c) * threads));
  return ERROR_NONE;
}

/* ---- what is measured ---- */

/* Numbers of one rank, gathered as they stand. */
typedef struct rank_numbers {
  double peak_before, peak_after; /* FLOP/s of its threads together, in the run's precision */
  double ready_s, first_s;        /* from the start of the process: the run is assembled, the first step is done */
  double peak_bytes, share_bytes; /* most memory held; proportional set size behind the last step */
} rank_numbers;

typedef struct step_row {
  double wall_s, cpu_s; /* cpu: of this rank, all threads */
  double flop, loss;
  int64_t tokens, sequences;
  step_times times;
} step_row;

typedef struct measured {
  run *r;
  rank_numbers own;
  step_row *rows; /* [warm + steps] */
  int64_t row_count;
  rank_numbers *ranks; /* rank 0: [size] */
  double *cpu;         /* rank 0: [size][row_count] */
} measured;

static void measured_release(measured *m) {
  free(m->rows);
  free(m->ranks);
  free(m->cpu);
}

/* This process's memory with what it shares divided among those who share it; -1: the system does not say. */
static double proportional_bytes(void) {
  char line[256];
  long long units;
  double bytes = -1;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  if (!file) return -1;
  while (bytes < 0 && fgets(line, sizeof line, file))
    if (sscanf(line, "Pss: %lld kB", &units) == 1) bytes = 1024.0 * (double)units;
  fclose(file);
  return bytes;
}

/* All threads of all ranks at once: that is how the steps use the cores. */
static double probe(const run *r, double seconds) {
  double total = 0;
  linalg_precision precision = r->config->precision == PRECISION_BF16 ? LINALG_BF16 : LINALG_F32;
  (void)comm_wait(r->comm);
#pragma omp parallel num_threads(r->threads) reduction(+ : total)
  total += linalg_peak(precision, seconds);
  (void)comm_wait(r->comm);
  return total;
}

static void note_batch(const run *r, step_row *row) {
  double squares = 0;
  row->sequences = r->plan.sequences;
  for (int i = 0; i < r->plan.sequences; i++) {
    row->tokens += r->plan.length[i];
    squares += (double)r->plan.length[i] * r->plan.length[i];
  }
  row->flop = useful_flop_count(r->model, (double)row->tokens, squares, r->plan.sequences).total;
}

static int train_steps(measured *m, optim *o, const request *q) {
  run *r = m->r;
  for (int64_t step = 0; step < m->row_count; step++) {
    step_row *row = &m->rows[step];
    step_result result;
    if (step == q->warm) m->own.peak_before = probe(r, q->peak_s);
    double wall = clock_wall_s(), cpu = clock_process_cpu_s();
    TRY(step_train(r, o, step, &result));
    row->wall_s = clock_wall_s() - wall;
    row->cpu_s = clock_process_cpu_s() - cpu;
    row->loss = result.loss;
    row->times = result.times;
    if (step == 0) m->own.first_s = clock_since_start_s();
    note_batch(r, row);
  }
  m->own.share_bytes = proportional_bytes();
  m->own.peak_after = probe(r, q->peak_s);
  m->own.peak_bytes = (double)machine_peak_bytes();
  return ERROR_NONE;
}

static int gather(measured *m) {
  comm *c = m->r->comm;
  int64_t *counts = calloc((size_t)comm_size(c), sizeof *counts);
  double *cpu = calloc((size_t)m->row_count, sizeof *cpu);
  void *ranks = NULL, *all = NULL;
  int code = comm_agree(c, counts && cpu ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory"));
  for (int64_t i = 0; !code && i < m->row_count; i++) cpu[i] = m->rows[i].cpu_s;
  if (!code) code = comm_gather(c, COMM_CONTROL, &m->own, sizeof m->own, counts, &ranks);
  if (!code) code = comm_gather(c, COMM_CONTROL, cpu, m->row_count * (int64_t)sizeof *cpu, counts, &all);
  m->ranks = ranks;
  m->cpu = all;
  free(counts);
  free(cpu);
  return code;
}

/* ---- the head and the adapter at the start ---- */

static int write_start(const run *r, const char *path) {
  int count = 0, segments = model_segment_count(r->model);
  safetensors_output *tensor = calloc((size_t)segments, sizeof *tensor);
  if (!tensor) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  for (int i = 0; i < segments; i++) {
    const segment *s = model_segment(r->model, i);
    if (s->role != SEGMENT_BASE)
      tensor[count++] = (safetensors_output){.name = s->name, .dims = 2, .shape = {s->rows, s->cols}, .values = r->theta + s->offset};
  }
  int code = safetensors_write(path, tensor, count, NULL);
  free(tensor);
  return code;
}

/* ---- results ---- */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of one field of the timed rows, which `offset` names. */
static double median(const measured *m, int64_t warm, size_t offset) {
  int64_t count = m->row_count - warm;
  double *values = malloc((size_t)count * sizeof *values), result = NAN;
  if (!values) return NAN;
  for (int64_t i = 0; i < count; i++) memcpy(&values[i], (const char *)&m->rows[warm + i] + offset, sizeof *values);
  qsort(values, (size_t)count, sizeof *values, ascending);
  result = count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
  free(values);
  return result;
}
#define MEDIAN(field) median(m, warm, offsetof(step_row, field))

static void print_table(const measured *m, int64_t warm, double ready_s) {
  const run *r = m->r;
  int size = comm_size(r->comm);
  double wall = 0, cpu = 0, flop = 0, tokens = 0, peak = 0, most = 0, share = 0;
  char bytes[2][32];
  for (int64_t i = warm; i < m->row_count; i++) {
    wall += m->rows[i].wall_s;
    flop += m->rows[i].flop;
    tokens += (double)m->rows[i].tokens;
    for (int k = 0; k < size; k++) cpu += m->cpu[k * m->row_count + i];
  }
  for (int k = 0; k < size; k++) {
    peak += 0.5 * (m->ranks[k].peak_before + m->ranks[k].peak_after);
    if (m->ranks[k].peak_bytes > most) most = m->ranks[k].peak_bytes;
    if (m->ranks[k].share_bytes > share) share = m->ranks[k].share_bytes;
  }
  int64_t steps = m->row_count - warm;
  printf("%s, %s by %s (%s): %d ranks x %d threads, %d shards, %lld steps of %.1f tokens\n", r->config->method.name,
         linalg_precision_names[r->config->precision], linalg_backend_names[r->config->linalg], linalg_core(), size, r->threads, r->shards, (long long)steps,
         tokens / (double)steps);
  printf("%.0f tokens/s, %.2f us of CPU a token, %.1f ms a step in the mean, %.1f in the median\n", tokens / wall, 1e6 * cpu / tokens,
         1e3 * wall / (double)steps, 1e3 * MEDIAN(wall_s));
  printf("%.1f GFLOP/s of useful work: %.1f %% of the peak (%.1f)\n", flop / wall / 1e9, 100 * flop / wall / peak, peak / 1e9);
  printf("ms at rank 0, medians: expand %.2f, forward %.2f, backward %.2f, gather %.2f, sum %.2f, update %.2f\n", 1e3 * MEDIAN(times.expand_s),
         1e3 * MEDIAN(times.forward_s), 1e3 * MEDIAN(times.backward_s), 1e3 * MEDIAN(times.gather_s), 1e3 * MEDIAN(times.communication_s),
         1e3 * MEDIAN(times.optimizer_s));
  printf("memory of a rank: at most %s, proportional share %s; ready %.2f s after the start, first step done at %.2f s\n", text_bytes(most, bytes[0]),
         share < 0 ? "unknown" : text_bytes(share, bytes[1]), ready_s, m->own.first_s);
}

static cJSON *numbers_of(const double *values, int64_t count) {
  cJSON *list = cJSON_CreateArray();
  char text[32];
  for (int64_t i = 0; i < count; i++) {
    snprintf(text, sizeof text, isfinite(values[i]) ? "%.17g" : "null", values[i]);
    cJSON_AddItemToArray(list, cJSON_CreateRaw(text));
  }
  return list;
}

/* All digits: ids are larger than what a double holds. */
static cJSON *whole_number(int64_t value) {
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)value);
  return cJSON_CreateRaw(text);
}

/* Examples of a step, shard after shard: the data set's ids, and its rows. */
static int add_plan(cJSON *o, run *r, int64_t steps) {
  cJSON *all = cJSON_AddArrayToObject(o, "plan");
  for (int64_t step = 0; step < steps; step++) {
    cJSON *row = cJSON_CreateObject(), *ids = cJSON_AddArrayToObject(row, "ids"), *rows = cJSON_AddArrayToObject(row, "rows");
    cJSON_AddItemToArray(all, row);
    TRY(batch_plan_step(&r->plan, step));
    for (int i = 0; i < r->plan.sequences; i++) {
      int64_t at = r->plan.row[r->plan.member[i]];
      cJSON_AddItemToArray(ids, whole_number(r->plan.source->example[at]));
      cJSON_AddItemToArray(rows, whole_number(at));
    }
  }
  return ERROR_NONE;
}

static void add_rank(cJSON *list, const measured *m, int rank) {
  const rank_numbers *n = &m->ranks[rank];
  cJSON *o = cJSON_CreateObject();
  cJSON_AddItemToArray(list, o);
  add_json_number(o, "peak_before", n->peak_before);
  add_json_number(o, "peak_after", n->peak_after);
  add_json_number(o, "ready_s", n->ready_s);
  add_json_number(o, "first_step_s", n->first_s);
  add_json_number(o, "peak_bytes", n->peak_bytes);
  add_json_number(o, "proportional_bytes", n->share_bytes);
  cJSON_AddItemToObject(o, "cpu_s", numbers_of(m->cpu + rank * m->row_count, m->row_count));
}

static void add_steps(cJSON *list, const measured *m) {
  for (int64_t i = 0; i < m->row_count; i++) {
    const step_row *row = &m->rows[i];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(list, o);
    add_json_number(o, "wall_s", row->wall_s);
    add_json_number(o, "flop", row->flop);
    add_json_number(o, "loss", row->loss);
    add_json_number(o, "tokens", (double)row->tokens);
    add_json_number(o, "examples", (double)row->sequences);
  }
}

static int write_json(const measured *m, const request *q) {
  run *r = m->r;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "kind", "peftscale bench step");
  cJSON_AddStringToObject(o, "source_hash", provenance_source_hash());
  cJSON_AddStringToObject(o, "precision", linalg_precision_names[r->config->precision]);
  cJSON_AddStringToObject(o, "linalg", linalg_backend_names[r->config->linalg]);
  cJSON_AddStringToObject(o, "blas", linalg_library());
  cJSON_AddStringToObject(o, "blas_core", linalg_core());
  cJSON_AddStringToObject(o, "experiment_id", r->experiment_id);
  cJSON_AddNumberToObject(o, "threads", r->threads);
  cJSON_AddNumberToObject(o, "shards", r->shards);
  cJSON_AddNumberToObject(o, "warm", (double)q->warm);
  add_json_number(o, "trained", (double)r->theta_count);
  add_json_number(o, "store_bytes", (double)model_store_count(r->model) * (double)sizeof(real));
  add_json_number(o, "workspace_bytes", (double)model_workspace_bytes(r->workspaces[0]));
  int code = add_plan(o, r, r->steps);
  if (m->ranks) {
    cJSON *ranks = cJSON_AddArrayToObject(o, "ranks");
    for (int k = 0; k < comm_size(r->comm); k++) add_rank(ranks, m, k);
    add_steps(cJSON_AddArrayToObject(o, "steps"), m);
  }
  char *text = cJSON_PrintUnformatted(o);
  cJSON_Delete(o);
  if (!code) code = text ? file_write_atomic(q->json, text, strlen(text)) : FAIL(ERROR_MEMORY, NULL, "out of memory for %s", q->json);
  free(text);
  return code;
}

/* ---- the parts ---- */

static int measure(measured *m, const request *q) {
  run *r = m->r;
  optim *o = NULL;
  m->row_count = r->steps;
  m->rows = calloc((size_t)m->row_count, sizeof *m->rows);
  int code = comm_agree(r->comm, m->rows ? run_make_optimizer(r, &o) : FAIL(ERROR_MEMORY, NULL, "out of memory"));
  m->own.ready_s = r->start_s;
  if (!code) code = train_steps(m, o, q);
  optim_destroy(o);
  if (!code) code = gather(m);
  if (!code && comm_rank(r->comm) == 0) print_table(m, q->warm, r->start_s);
  return code;
}

typedef struct first_step {
  double since_start_s, at_s;
} first_step;

static void note_first(void *context, int64_t done, int64_t steps) {
  (void)steps;
  if (done == 1) *(first_step *)context = (first_step){clock_since_start_s(), clock_wall_s()};
}

/* The training itself, run file included; its result is of no interest. at_s: on the system's monotonic clock, so that the launcher can tell, too. */
static int time_first(run *r) {
  first_step first = {NAN, NAN};
  double ready_s = r->start_s;
  run_observe(r, note_first, &first);
  TRY(run_train(r));
  if (comm_rank(r->comm) == 0) printf("{\"ready_s\": %.6f, \"first_step_s\": %.6f, \"at_s\": %.6f}\n", ready_s, first.since_start_s, first.at_s);
  return ERROR_NONE;
}

static int work(comm *c, const request *q) {
  config *conf = NULL;
  measured m = {0};
  int code = comm_agree(c, compose_arguments(&q->words, &conf));
  if (code) {
    config_destroy(conf);
    return code;
  }
  TRY(run_create(c, conf, 1, &m.r));
  code = q->start && comm_rank(c) == 0 ? write_start(m.r, q->start) : ERROR_NONE;
  code = comm_agree(c, code);
  if (!code && q->only == PART_FIRST) code = time_first(m.r);
  if (!code && q->only == PART_ALL) code = measure(&m, q);
  if (!code && q->json && comm_rank(c) == 0) code = write_json(&m, q);
  code = comm_agree(c, code);
  run_destroy(m.r);
  measured_release(&m);
  return code;
}

int main(int count, char **words) {
  comm *c = NULL;
  request q = {0};
  int code = comm_initialize(&count, &words, &c);
  if (!code) {
    log_setup(comm_rank(c) == 0, LOG_QUIET);
    code = linalg_setup();
    if (!code) code = read_words(&q, c, count, words);
    code = comm_agree(c, code);
    if (!code) code = complete(&q, c);
    if (!code) code = work(c, &q);
    if (*q.made && comm_rank(c) == 0) unlink(q.made);
  }
  if (code) log_error(error_last());
  comm_finalize(c);
  return error_exit_status(code);
}
