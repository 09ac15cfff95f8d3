/* ranks: 1 2 3 4 */
/* The summed gradient of a step against a plain loop over its shards, which each rank makes alone, in one thread, without messages: with 1 and 2 threads, 7
 * sequences of 1 to 128 tokens in 8 shards, every method, and a vector of several buckets that travel behind backward. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/tiny_data.h"
#include "train/internal.h"

enum { STEPS = 3, WORDS_MAX = 24 };

/* ---- a run ---- */

static int make_run(const char *path, const char *const *words, int threads, run **r) {
  char data[4200], thread_word[32];
  const char *all[WORDS_MAX] = {"model.init=random", "model.positions=128", "shards=8", "train.batch=7", "train.steps=3", data, thread_word};
  int count = 7;
  snprintf(data, sizeof data, "task.data=%s", path);
  snprintf(thread_word, sizeof thread_word, "threads=%d", threads);
  while (*words && count < WORDS_MAX) all[count++] = *words++;
  config_request request = {.assignments = all, .assignment_count = count, .method_options = method_options};
  config *c = NULL;
  TRY(comm_agree(world, config_compose(&request, &c)));
  return run_create(world, c, 1, r);
}

/* theta moved away from its start, where parts of a gradient vanish (LoRA's B = 0). */
static void stir(run *r) {
  random_key key = random_key_make(5, RANDOM_TEST, 0);
  for (int64_t i = 0; i < r->theta_count; i++) r->theta[i] += (real)(0.02 * random_normal(key, 0, (uint64_t)i));
}

/* ---- the plain loop ---- */

static void reference(run *r, int64_t step, double *grad, model_sums *sums) {
  real *part = calloc((size_t)r->theta_count, sizeof *part);
  memset(grad, 0, (size_t)r->theta_count * sizeof *grad);
  *sums = (model_sums){0};
  CHECK_DONE(batch_plan_step(&r->plan, step));
  CHECK_DONE(model_choose(r->model, step));
  CHECK_DONE(model_expand(r->model, r->theta));
  for (int s = 0; s < r->shards; s++) {
    int first = r->plan.first[s], count = r->plan.first[s + 1] - first;
    const batch *b = batch_pack_fill(r->packs[0], r->plan.source, r->plan.row, r->plan.member + first, count, (uint64_t)step, &r->masking);
    memset(part, 0, (size_t)r->theta_count * sizeof *part);
    CHECK_DONE(model_gradient(r->model, r->workspaces[0], b, part, sums, NULL));
    CHECK_DONE(model_gather(r->model, r->workspaces[0], part));
    for (int64_t i = 0; i < r->theta_count; i++) grad[i] += (double)part[i];
  }
  free(part);
}

/* The worst segment (*at) and its error |g - ref| / max(|ref|, least |all|). */
static double distance(const run *r, const double *wanted, const real *found, double least, const char **at) {
  double all = 0, worst = 0;
  for (int64_t i = 0; i < r->theta_count; i++) all += wanted[i] * wanted[i];
  for (int s = 0; s < model_segment_count(r->model); s++) {
    const segment *part = model_segment(r->model, s);
    double miss = 0, size = 0;
    for (int64_t i = part->offset; i < part->offset + (int64_t)part->rows * part->cols; i++) {
      miss += ((double)found[i] - wanted[i]) * ((double)found[i] - wanted[i]);
      size += wanted[i] * wanted[i];
    }
    double part_error = sqrt(miss) / fmax(sqrt(size), least * sqrt(all));
    if (part_error <= worst) continue; /* no number is never that */
    worst = part_error;
    *at = part->name;
  }
  return worst;
}

static void compare_from(const char *path, const char *const *words, int threads, int64_t least, double least_share) {
  run *r = NULL;
  CHECK_DONE(make_run(path, words, threads, &r));
  if (!r) return;
  CHECK(r->theta_count > least);
  stir(r);
  double *wanted = malloc((size_t)r->theta_count * sizeof *wanted);
  for (int64_t step = 0; step < STEPS && wanted; step++) {
    model_sums sums;
    step_result result;
    reference(r, step, wanted, &sums);
    CHECK_DONE(step_gradient(r, step, &result));
    const char *at = "";
    double miss = distance(r, wanted, r->message, least_share, &at);
    if (!(miss < 1e-5)) fprintf(stderr, "%s, %d threads, step %lld: the gradient of %s differs by %.1e\n", words[0], threads, (long long)step, at, miss);
    CHECK(miss < 1e-5);
    CHECK(fabs(result.loss * (double)sums.count / sums.loss - 1) < 1e-6);
    CHECK(result.count == sums.count && result.tokens == sums.tokens);
  }
  free(wanted);
  run_destroy(r);
}

static void compare(const char *path, const char *const *words, int threads, int64_t least) { compare_from(path, words, threads, least, 1e-6); }

/* Trouble of one rank reaches all of them with the step's own message, whatever kind of message that is. */
static void trouble(const char *path, const char *method_word, const char *path_word, const char *reduce_word) {
  const char *const words[] = {method_word, reduce_word, path_word, NULL};
  run *r = NULL;
  step_result result;
  CHECK_DONE(make_run(path, words, 1, &r));
  if (!r) return;
  if (comm_rank(world) == comm_size(world) - 1) {
    FAIL(ERROR_SYSTEM, NULL, "the disk is full");
    r->pending = *error_last();
  }
  CHECK(step_gradient(r, 0, &result) == ERROR_SYSTEM);
  CHECK(!strcmp(error_last()->text, "the disk is full"));
  run_destroy(r);
}

/* A rank whose numbers drift away is found at the next comparison, by all of them. */
static void drift(const char *path) {
  const char *const words[] = {"method=vblora", "check_every=2", NULL};
  run *r = NULL;
  optim *o = NULL;
  step_result result;
  CHECK_DONE(make_run(path, words, 1, &r));
  if (!r) return;
  optim_segment all = {.offset = 0, .count = r->theta_count, .rate = 1e-3};
  optim_options options = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .schedule = OPTIM_CONSTANT, .steps = STEPS};
  CHECK_DONE(optim_create(&options, &all, 1, r->theta_count, &o));
  if (comm_rank(world) == comm_size(world) - 1) r->theta[r->theta_count - 1] += (real)1e-3;
  CHECK_DONE(step_train(r, o, 0, &result)); /* not compared yet */
  CHECK(step_train(r, o, 1, &result) == (comm_size(world) > 1 ? ERROR_SYSTEM : ERROR_NONE));
  if (comm_size(world) > 1) CHECK(strstr(error_last()->text, "different numbers") != NULL);
  optim_destroy(o);
  run_destroy(r);
}

static void every_method(const char *path) {
  for (int m = 0; method_list[m]; m++)
    for (int threads = 1; threads <= 2; threads++) {
      char method_word[64];
      snprintf(method_word, sizeof method_word, "method=%s", method_list[m]->name);
      const char *const words[] = {
          method_word, "model.width=32", "model.ffn=64", "model.dropout_attention=0.1", "model.dropout_hidden=0.1", "model.dropout_adapter=0.2", NULL};
      compare(path, words, threads, 0);
    }
}

/* What travels otherwise: sums in integers, all of theta where less would do, and a sub-network drawn per step. */
static void variants(const char *path) {
  static const char *const methods[] = {"method=lora", "method=vblora", "method=glora", "method=full"};
  static const char *const sums[][2] = {{"reduce=exact", "payload=compact"}, {"reduce=exact", "payload=dense"}, {"reduce=float", "payload=dense"}};
  for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
    for (size_t k = 0; k < sizeof sums / sizeof *sums; k++) {
      const char *const words[] = {methods[m], "model.width=32", sums[k][0], sums[k][1], "model.dropout_hidden=0.1", NULL};
      compare(path, words, 1 + (int)(m + k) % 2, 0);
    }
  for (int threads = 1; threads <= 2; threads++) {
    const char *reduce = threads == 1 ? "reduce=exact" : "reduce=float";
    const char *const drawn[] = {"method=glora", "method.path=random", "method.modules=q,v,up", "model.width=32", reduce, NULL};
    compare_from(path, drawn, threads, 0, 1); /* behind a normalisation that is not trained, row sums are zero, and so are gradients that hang on them */
  }
}

int main(int argc, char **argv) {
  char path[64];
  if (checks_begin(&argc, &argv)) return 1;
  snprintf(path, sizeof path, "/tmp/peftscale-step-%ld.h5", (long)getpid());
  CHECK_DONE(comm_broadcast(world, COMM_CONTROL, 0, path, sizeof path));
  if (comm_rank(world) == 0) tiny_data_write(path);
  if (!comm_agree(world, checks_failed ? FAIL(ERROR_SYSTEM, NULL, "%s cannot be written", path) : 0)) {
    const char *const large[] = {"method=full", "model.layers=2", "model.width=256", "model.ffn=1024", NULL};
    const char *const masked[] = {"method=full", "task.objective=mlm", "model.width=32", NULL};
    every_method(path);
    compare(path, masked, 2, 0);
    for (int threads = 1; threads <= 2; threads++) compare(path, large, threads, 1500000);
    variants(path);
    trouble(path, "method=lora", "model.width=32", "reduce=float");
    trouble(path, "method=vblora", "model.width=32", "reduce=float");
    trouble(path, "method=glora", "method.path=random", "reduce=float");
    trouble(path, "method=glora", "method.path=random", "reduce=exact");
    drift(path);
  }
  CHECK_DONE(comm_agree(world, 0));
  if (comm_rank(world) == 0) unlink(path);
  return checks_end();
}
