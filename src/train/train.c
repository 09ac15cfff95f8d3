/* The training of a run: steps, validations, the model that is kept, one look at the test split. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "train/profile.h"
#include "train/training_private.h"

double segment_rate(const config *c, const segment *s) {
  if (s->role == SEGMENT_HEAD) return c->train.lr_head;
  return s->rate_own > 0 ? s->rate_own : s->rate_factor * c->train.lr;
}

double segment_decay(const config *c, const segment *s) {
  if (!s->decays) return 0;
  return s->role == SEGMENT_HEAD ? c->train.decay_head : c->train.decay;
}

optim_options schedule_options(const config *c) {
  return (optim_options){.beta1 = c->train.beta1,
                         .beta2 = c->train.beta2,
                         .epsilon = c->train.epsilon,
                         .clip = c->train.clip,
                         .schedule = (optim_schedule)c->train.schedule,
                         .steps = c->train.steps,
                         .threads = (int)c->threads,
                         .warmup = (int64_t)ceil(c->train.warmup * (double)c->train.steps)};
}

int run_make_optimizer(run *r, optim **result) {
  const config *c = r->config;
  int count = model_segment_count(r->model), code = ERROR_NONE;
  optim_segment *segments = malloc((size_t)count * sizeof *segments);
  if (!segments) return FAIL(ERROR_MEMORY, NULL, "out of memory for %d segments", count);
  for (int i = 0; i < count; i++) {
    const segment *s = model_segment(r->model, i);
    segments[i] = (optim_segment){.offset = s->offset, .count = (int64_t)s->rows * s->cols, .rate = segment_rate(c, s), .decay = segment_decay(c, s)};
  }
  const optim_options options = schedule_options(c);
  code = optim_schedule_hash(&options, segments, count, r->schedule_hash);
  if (!code) code = optim_create(&options, segments, count, r->theta_count, result);
  free(segments);
  return code;
}

static int speaks(const training *t) { return comm_rank(t->r->comm) == 0; }

static void show_progress(training *t, int64_t step, const step_result *s, int force) {
  const config *c = t->r->config;
  double now = clock_wall_s();
  int64_t done = step + 1;
  if (!speaks(t) || (!force && (log_is_terminal() ? now - t->shown_at_s < 0.2 : done % c->output.log_every != 0))) return;
  double elapsed = now - t->shown_at_s, per_step = (now - t->began_s) / (double)(done - t->first_step);
  double rate = (double)(t->totals.tokens - t->shown_tokens) / elapsed, share = 100 * (t->totals.communication_s - t->shown_communication_s) / elapsed;
  char metric[64] = "", left[32];
  if (!isnan(t->last_validation)) snprintf(metric, sizeof metric, "  validation %s %.4f", metric_names[t->r->metric], t->last_validation);
  int64_t seconds = (int64_t)(per_step * (double)(t->r->steps - done) + 0.5);
  snprintf(left, sizeof left, "%lld:%02lld", (long long)(seconds / 60), (long long)(seconds % 60));
  log_progress("step %lld/%lld  loss %.4f%s  %.0f tok/s  comm %.1f%%  ETA %s", (long long)done, (long long)t->r->steps, s->loss, metric, rate, share, left);
  t->shown_at_s = now;
  t->shown_tokens = t->totals.tokens;
  t->shown_communication_s = t->totals.communication_s;
}

/* What the system has counted for this process so far; the next row per rank is about what comes after. */
static void begin_row(training *t) {
  t->since = (rank_row){.rank = comm_rank(t->r->comm),
                        .seconds = -clock_wall_s(),
                        .cpu_s = -clock_process_cpu_s(),
                        .delay_s = -machine_delay_s(),
                        .involuntary_switches = -machine_involuntary_switches()};
}

/* A rank that wanted to run for more than a twentieth of the time and found no core was not alone on its own: its times are not the method's. */
static int is_contaminated(const rank_row *row, int threads) {
  enum { SWITCHES_A_SECOND = 100 }; /* where the system does not count delays */
  if (!isnan(row->delay_s)) return row->delay_s > 0.05 * row->seconds * threads;
  return (double)row->involuntary_switches > SWITCHES_A_SECOND * row->seconds * threads;
}

static void end_row(training *t, int64_t step) {
  rank_row *row = &t->since;
  row->step = step;
  row->seconds += clock_wall_s();
  row->cpu_s += clock_process_cpu_s();
  row->delay_s += machine_delay_s();
  row->involuntary_switches += machine_involuntary_switches();
  row->load_average = machine_load();
  row->contaminated = is_contaminated(row, t->r->threads);
  snprintf(row->host, sizeof row->host, "%.63s", comm_host(t->r->comm));
  machine_name_cores(row->cores, sizeof row->cores);
  row->peak_bytes = machine_peak_bytes();
}

int training_note_ranks(training *t) {
  run *r = t->r;
  if (t->noted == t->done) return ERROR_NONE;
  end_row(t, t->done);
  int size = comm_size(r->comm);
  int64_t *counts = calloc((size_t)size, sizeof *counts);
  void *rows = NULL;
  int code = comm_agree(r->comm, counts ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory"));
  if (!code) code = comm_gather(r->comm, COMM_CHECKPOINT, &t->since, sizeof t->since, counts, &rows);
  if (!code && t->record) {
    for (int i = 0; i < size; i++) t->totals.contaminated += ((rank_row *)rows)[i].contaminated;
    code = record_ranks(t->record, rows, size);
  }
  free(rows);
  free(counts);
  begin_row(t);
  t->noted = t->done;
  return comm_agree(r->comm, code);
}

static int diverged(int64_t step, double loss) {
  return FAIL(ERROR_DIVERGED, "use a smaller learning rate (train.lr) or clip gradients (train.clip)", "diverged: after step %lld the validation loss is %g",
              (long long)step, loss);
}

static int validate(training *t) {
  run *r = t->r;
  int64_t step = t->done, epoch = step / r->plan.steps_per_epoch;
  evaluation e;
  TRY(run_evaluate(r, r->theta, SPLIT_VALIDATION, &e, NULL));
  if (e.count > 0 && !isfinite(e.loss)) return diverged(step, e.loss); /* the same on all ranks */
  double value = e.metrics.value[r->metric];
  t->last_validation = value;
  t->validated = step;
  if (r->config->train.keep == KEEP_LAST || !t->best_step || metrics_better(r->metric, value, t->best)) {
    memcpy(r->chosen, r->theta, (size_t)r->theta_count * sizeof(real));
    t->best = value;
    t->best_step = step;
  }
  char score[64] = "";
  if (r->metric != METRICS_LOSS) snprintf(score, sizeof score, "%s %.4f  ", metric_names[r->metric], value);
  log_info("epoch %lld  step %lld  validation %sloss %.4f  (%.1f s)", (long long)epoch, (long long)step, score, e.loss, e.seconds);
  int code = t->record ? record_evaluation(t->record, step, epoch, SPLIT_VALIDATION, &e, value) : ERROR_NONE;
  TRY(comm_agree(r->comm, code));
  return training_note_ranks(t);
}

static int is_validated_after(const run *r, int64_t step) {
  int64_t every = r->config->train.evaluate_every ? r->config->train.evaluate_every : r->plan.steps_per_epoch;
  return step == r->steps || step % every == 0;
}

static void add_step(training *t, const step_result *s) {
  const step_times *from = &s->times;
  rank_row *to = &t->since;
  to->compute_s += from->expand_s + from->forward_s + from->backward_s + from->gather_s + from->optimizer_s;
  to->communication_s += from->communication_s;
  to->work_cpu_s += from->work_cpu_s;
  to->tokens += s->my_tokens;
  to->payload_bytes += s->payload_bytes;
  if (s->wire_bytes < 0) to->wire_bytes = -1;
  else if (to->wire_bytes >= 0) to->wire_bytes += s->wire_bytes;
  if (s->sampled) {
    to->sampled++;
    to->wait_s += from->wait_s;
    to->transfer_s += from->communication_s - from->wait_s;
  }
  t->totals.tokens += s->tokens;
  t->totals.communication_s += from->communication_s;
  t->totals.step_s += from->step_s;
}

/* What has to follow a step that was recorded. A stop comes first: the run that goes on validates then. */
static int follow_step(training *t, step_wish wish) {
  run *r = t->r;
  if (wish == WISH_STOP) return FAIL(ERROR_STOPPED, NULL, "stopped after step %lld", (long long)t->done);
  if (is_validated_after(r, t->done)) {
    TRY(comm_agree(r->comm, r->pending.code ? error_restore(&r->pending) : ERROR_NONE));
    TRY(validate(t));
  }
  return wish == WISH_CHECKPOINT ? resume_checkpoint(t) : ERROR_NONE;
}

static int loop(training *t) {
  run *r = t->r;
  const optim_options schedule = schedule_options(r->config);
  if (t->done > t->validated && is_validated_after(r, t->done)) TRY(validate(t)); /* it was stopped right before */
  for (int64_t step = t->done; step < r->steps; step++) {
    step_result s;
    int64_t epoch = step / r->plan.steps_per_epoch;
    TRY(step_train(r, t->optim, step, &s));
    add_step(t, &s);
    run_profile_step(r, &s);
    t->done = step + 1;
    int code = t->record ? record_step(t->record, step, epoch, optim_share(&schedule, step) * r->config->train.lr, &s) : ERROR_NONE;
    show_progress(t, step, &s, t->done == r->steps);
    if (t->record && r->observer.step) r->observer.step(r->observer.context, t->done, r->steps);
    if (code && !r->pending.code) r->pending = *error_last(); /* told to the others with the next step's message */
    TRY(follow_step(t, s.wish));
  }
  return ERROR_NONE;
}

/* The chosen theta on a split, with its predictions. Its rows carry the step that it comes from. */
static int conclude_split(training *t, split_name which, double *metric) {
  run *r = t->r;
  evaluation e;
  predictions p = {0};
  *metric = NAN;
  if (r->data->splits[which].count == 0) return ERROR_NONE;
  TRY(run_evaluate(r, r->chosen, which, &e, &p));
  *metric = e.metrics.value[r->metric];
  int code = ERROR_NONE;
  if (t->record) {
    code = record_evaluation(t->record, t->best_step, t->best_step / r->plan.steps_per_epoch, which, &e, *metric);
    if (!code && r->config->output.predictions && p.count) code = record_predictions(t->record, which, &r->data->splits[which], &p);
  }
  predictions_free(&p);
  return comm_agree(r->comm, code);
}

/* A sum of which a part may not have been measured. */
static int64_t add_measured(int64_t earlier, int64_t now) { return earlier < 0 || now < 0 ? -1 : earlier + now; }

int64_t training_wire_bytes(const training *t) { return add_measured(t->earlier_wire_bytes, comm_meter_read(t->r->comm, COMM_GRADIENT).wire_bytes); }

record_totals training_totals(const training *t) {
  const record_totals *earlier = &t->earlier;
  record_totals all = t->totals;
  all.train_s = earlier->train_s + (t->trained_s > 0 ? t->trained_s : clock_wall_s()) - t->began_s;
  all.total_s = earlier->total_s + clock_since_start_s() - t->r->began_s;
  all.start_s = earlier->start_s + t->r->start_s;
  all.energy_j = earlier->energy_j + t->totals.energy_j;
  for (int p = 0; p < COMM_PURPOSES; p++) {
    comm_meter m = comm_meter_read(t->r->comm, (comm_purpose)p);
    all.payload_bytes[p] = earlier->payload_bytes[p] + m.payload_bytes;
    all.wire_bytes[p] = add_measured(earlier->wire_bytes[p], m.wire_bytes);
  }
  return all;
}

/* Mean and largest over ranks of what the sums of gradients sent. Collective. */
static int compare_wire(training *t) {
  comm *c = t->r->comm;
  double bytes = (double)training_wire_bytes(t), sum = bytes, most = bytes, unknown = bytes < 0;
  TRY(comm_sum_doubles(c, COMM_CONTROL, &sum, 1));
  TRY(comm_max_doubles(c, COMM_CONTROL, &most, 1));
  TRY(comm_max_doubles(c, COMM_CONTROL, &unknown, 1));
  t->totals.wire_mean = unknown > 0 ? NAN : sum / comm_size(c);
  t->totals.wire_max = unknown > 0 ? NAN : most;
  return ERROR_NONE;
}

/* On each node one rank counts its energy, from here on; where some node's cannot be read, none does. Collective. */
static int begin_energy(run *r) {
  const energy_places where = energy_places_default();
  int counts = comm_node(r->comm) == comm_rank(r->comm);
  if (counts) r->energy = energy_open(&where);
  double lacks = counts && !r->energy;
  TRY(comm_max_doubles(r->comm, COMM_CONTROL, &lacks, 1));
  if (lacks == 0) return ERROR_NONE;
  energy_close(r->energy);
  r->energy = NULL;
  return ERROR_NONE;
}

int training_note_energy(training *t) {
  run *r = t->r;
  t->totals.energy_j = comm_node(r->comm) == comm_rank(r->comm) ? energy_read(r->energy) : 0;
  return comm_sum_doubles(r->comm, COMM_CONTROL, &t->totals.energy_j, 1);
}

static void report(const training *t, const record_totals *of) {
  const run *r = t->r;
  char wire[96] = "", joules[32] = "", test[48] = "not read", bytes[32];
  if (r->config->output.test) snprintf(test, sizeof test, "%.4f", of->test);
  if (of->wire_max > 0) snprintf(wire, sizeof wire, ", %s on the wire per step and rank", text_bytes(of->wire_mean / (double)of->steps, bytes));
  if (!isnan(of->energy_j)) snprintf(joules, sizeof joules, ", %.*f kJ", of->energy_j < 1e5 ? 2 : 0, of->energy_j / 1e3);
  log_info("done  %s: validation %.4f, test %s (step %lld)  %.1f s, %.0f tok/s, comm %.2f%% of steps%s%s", metric_names[r->metric], of->validation, test,
           (long long)of->best_step, of->total_s, (double)of->tokens / of->train_s, of->step_s > 0 ? 100 * of->communication_s / of->step_s : 0, wire, joules);
  if (of->contaminated) log_detail("times are contaminated: ranks waited for a core, see /series/ranks (delay_s)");
}

static int train_and_conclude(training *t) {
  run *r = t->r;
  TRY(comm_agree(r->comm, run_make_optimizer(r, &t->optim)));
  TRY(begin_energy(r));
  TRY(resume_begin(t));
  t->began_s = t->shown_at_s = clock_wall_s();
  begin_row(t);
  TRY(loop(t));
  t->trained_s = clock_wall_s();
  TRY(training_note_energy(t));
  TRY(compare_wire(t));
  TRY(conclude_split(t, SPLIT_VALIDATION, &t->totals.validation));
  t->totals.test = NAN;
  if (r->config->output.test) TRY(conclude_split(t, SPLIT_TEST, &t->totals.test));
  t->totals.steps = r->steps;
  t->totals.best_step = t->best_step;
  record_totals all = training_totals(t);
  int code = ERROR_NONE;
  if (t->record) {
    code = record_finish(t->record, r->chosen, &all);
    t->record = NULL;
    if (!code) resume_end(t);
  }
  TRY(comm_agree(r->comm, code));
  if (speaks(t)) report(t, &all);
  return ERROR_NONE;
}

int run_train(run *r) {
  training t = {.r = r, .best = NAN, .last_validation = NAN, .noted = -1};
  int code = train_and_conclude(&t);
  if (code == ERROR_STOPPED) code = resume_stop(&t);
  if (t.record) record_abandon(t.record, error_last()->text);
  optim_destroy(t.optim);
  return code;
}
