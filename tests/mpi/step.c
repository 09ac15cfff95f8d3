/* ranks: 1 2 3 4 */
/* The summed gradient of a step against a plain loop over its shards, which each rank makes alone, in one thread, without messages: with 1 and 2 threads, 7
 * sequences of 1 to 128 tokens in 8 shards, every method, a vector of several buckets that travel behind backward, and the head's part of it as factors. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/order.h"
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

/* What the ranks give to a step's sum, and, where the head is no part of it, the rows of the own examples. */
static int64_t given_bytes(const run *r) {
  int64_t begin, end, numbers = (r->packed ? model_packed_count(r->model) : r->theta_count) - r->apart, row = r->apart ? model_head_row(r->model) : 0;
  if (comm_size(world) == 1) return 0;
  order_share(r->shards, comm_size(world), comm_rank(world), &begin, &end);
  int64_t rows = (r->plan.first[end] - r->plan.first[begin]) * row * (int64_t)sizeof(float);
  return rows + (r->exact ? 8 * (numbers + 3) + model_segment_count(r->model) + 2 : 4 * (numbers + 4));
}

/* The head's part, where every rank forms it. */
static void same_on_all_ranks(const run *r) {
  char text[32];
  int same = 0;
  snprintf(text, sizeof text, "%016llx", (unsigned long long)hash_number(r->message, (size_t)r->apart * sizeof(real)));
  CHECK_DONE(comm_same_text(world, text, &same));
  CHECK(same);
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
    int64_t before = comm_meter_read(world, COMM_GRADIENT).payload_bytes;
    CHECK_DONE(step_gradient(r, step, &result));
    CHECK(comm_meter_read(world, COMM_GRADIENT).payload_bytes - before == given_bytes(r));
    const char *at = "";
    double miss = distance(r, wanted, r->message, least_share, &at);
    if (!(miss < 1e-5)) fprintf(stderr, "%s, %d threads, step %lld: the gradient of %s differs by %.1e\n", words[0], threads, (long long)step, at, miss);
    CHECK(miss < 1e-5);
    CHECK(fabs(result.loss * (double)sums.count / sums.loss - 1) < 1e-6);
    CHECK(result.count == sums.count && result.tokens == sums.tokens);
    if (r->apart) same_on_all_ranks(r);
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

/* ---- the head as factors ---- */

static const char *const heads[][3] = {{"model.head=linear", "task.objective=classify", "task.metric=accuracy"},
                                       {"model.head=tanh", "task.objective=classify", "task.metric=accuracy"},
                                       {"model.head=linear", "task.objective=regress", "task.metric=pearson"},
                                       {"model.head=tanh", "task.objective=regress", "task.metric=pearson"}};

static void scale_head(run *r, real factor) {
  for (int64_t i = 0; i < model_role_count(r->model, SEGMENT_HEAD); i++) r->theta[i] *= factor;
}

/* Exact sums of the same steps, dense and as factors: not a bit may differ, while the head's gradient leaves its headroom, sinks and is no number at last. */
static void same_bits(const char *path, const char *method_word, const char *const *head, int threads) {
  static const real growth[] = {1, 1, 0x1p14f, 0x1p-60f, 0x1p50f, NAN};
  static const char *const ways[] = {"head_reduce=dense", "head_reduce=factors"};
  run *r[2] = {NULL, NULL};
  for (int k = 0; k < 2; k++) {
    const char *const words[] = {method_word, ways[k], head[0], head[1], head[2], "reduce=exact", "model.width=32", "model.ffn=64", "model.dropout_head=0.2",
                                 NULL};
    CHECK_DONE(make_run(path, words, threads, &r[k]));
    if (!r[k]) return;
    stir(r[k]);
  }
  CHECK(r[0]->apart == 0 && r[1]->apart == model_role_count(r[1]->model, SEGMENT_HEAD));
  for (size_t i = 0; i < sizeof growth / sizeof *growth; i++) {
    int levels;
    step_result result[2];
    for (int k = 0; k < 2; k++) {
      scale_head(r[k], growth[i]);
      CHECK_DONE(step_gradient(r[k], (int64_t)i % STEPS, &result[k]));
    }
    CHECK(!memcmp(r[0]->message, r[1]->message, (size_t)r[0]->theta_count * sizeof *r[0]->message));
    CHECK(!memcmp(&result[0].loss, &result[1].loss, sizeof result[0].loss) && result[0].count == result[1].count && result[0].tokens == result[1].tokens);
    const uint8_t *level[2] = {exact_levels(r[0]->exact, &levels), exact_levels(r[1]->exact, &levels)};
    CHECK(!memcmp(level[0], level[1], (size_t)levels));
    CHECK(isnan(growth[i]) == isnan(r[0]->message[0]));
  }
  for (int k = 0; k < 2; k++) run_destroy(r[k]);
}

static void factors(const char *path) {
  for (int m = 0; method_list[m]; m++)
    for (int threads = 1; threads <= 2; threads++) {
      char method_word[64];
      snprintf(method_word, sizeof method_word, "method=%s", method_list[m]->name);
      for (size_t h = 0; h < sizeof heads / sizeof *heads; h++) {
        const char *const words[] = {method_word,    "head_reduce=factors",    heads[h][0], heads[h][1], heads[h][2], "model.width=32",
                                     "model.ffn=64", "model.dropout_head=0.2", NULL};
        compare_from(path, words, threads, 0, 1e-3); /* GLoRA has gradients that all but vanish here, and are rounding */
        same_bits(path, method_word, heads[h], threads);
      }
    }
  for (int threads = 1; threads <= 2; threads++) {
    const char *const large[] = {"method=full", "head_reduce=factors", "model.head=tanh", "model.layers=2", "model.width=256", "model.ffn=1024", NULL};
    const char *const drawn[] = {"method=glora", "head_reduce=factors", "method.path=random", "model.head=tanh", "model.width=32", NULL};
    const char *const dense[] = {"method=vblora", "head_reduce=factors", "payload=dense", "model.width=32", NULL};
    const char *const few[] = {
        "method=red", "head_reduce=factors", "train.batch=2", "model.head=tanh", "model.width=32", threads == 1 ? "reduce=exact" : "reduce=float",
        NULL}; /* some ranks have no rows */
    compare(path, large, threads, 1500000);
    compare_from(path, drawn, threads, 0, 1);
    compare(path, dense, threads, 0);
    compare(path, few, threads, 0);
  }
  trouble(path, "method=lora", "head_reduce=factors", "reduce=float");
  trouble(path, "method=vblora", "head_reduce=factors", "reduce=float");
  trouble(path, "method=lora", "head_reduce=factors", "reduce=exact");
}

/* Fewer bytes decide. The tiny linear head is smaller than its rows, the dense tanh layer is larger than the rows of 7 examples; one rank has nothing to send.
 */
static void choice(const char *path) {
  for (size_t h = 0; h < 2; h++) {
    const char *const words[] = {"method=lora", heads[h][0], "model.width=64", NULL};
    run *r = NULL;
    CHECK_DONE(make_run(path, words, 1, &r));
    if (!r) return;
    CHECK((r->apart > 0) == (h == 1 && comm_size(world) > 1));
    CHECK(r->config->head_reduce == (r->apart ? HEAD_REDUCE_FACTORS : HEAD_REDUCE_DENSE));
    CHECK((r->apart > 0) == (r->head.factor_wire_bytes < r->head.dense_wire_bytes));
    run_destroy(r);
  }
}

/* Full fine-tuning of a sentence task sends the embeddings' rows of the tokens and positions in the batch, to the byte, and counts their mean. */
static void reached_rows(const char *path, const char *reduce_word, const char *payload_word) {
  const char *const words[] = {"method=full", "model.width=32", "head_reduce=dense", reduce_word, payload_word, "task.limit=9", NULL};
  run *r = NULL;
  CHECK_DONE(make_run(path, words, 2, &r));
  if (!r) return;
  const batch_plan *plan = &r->plan;
  const int packs = r->config->payload == PAYLOAD_COMPACT;
  double mean = 0;
  for (int64_t step = 0; step < STEPS; step++) {
    step_result result;
    char seen[TINY_VOCABULARY] = {0};
    int64_t words_missing = TINY_VOCABULARY, longest = 0;
    CHECK_DONE(step_gradient(r, step, &result));
    for (int i = 0; i < plan->sequences; i++) {
      longest = plan->length[i] > longest ? plan->length[i] : longest;
      for (int j = 0; j < plan->length[i]; j++) {
        char *token = &seen[plan->source->token[plan->source->offset[plan->row[i]] + j]];
        words_missing -= !*token;
        *token = 1;
      }
    }
    int64_t missing = packs ? 32 * (words_missing + 128 - longest) : 0, numbers = r->theta_count - missing;
    mean += (double)missing / STEPS;
    int64_t wanted = r->exact ? 8 * (numbers + 3) + model_segment_count(r->model) + 2 : 4 * (numbers + 4);
    CHECK(result.payload_bytes == (comm_size(world) > 1 ? wanted : 0));
  }
  CHECK(llabs(r->left_out - (int64_t)(mean + 0.5)) <= 1);
  CHECK((mean > 0) == packs);
  run_destroy(r);
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
    for (int on_node = 0; on_node < 2; on_node++) {
      const char *const bucketed[] = {"method=full",
                                      "model.layers=2",
                                      "model.width=256",
                                      "model.ffn=1024",
                                      on_node ? "node_reduce=on" : "node_reduce=off",
                                      on_node ? "reduce=float" : "reduce=exact",
                                      "payload=dense",
                                      NULL};
      compare(path, bucketed, 1 + on_node, 1500000);
    }
    reached_rows(path, "reduce=float", "payload=compact");
    reached_rows(path, "reduce=exact", "payload=compact");
    reached_rows(path, "reduce=float", "payload=dense");
    trouble(path, "method=lora", "model.width=32", "reduce=float");
    trouble(path, "method=vblora", "model.width=32", "reduce=float");
    trouble(path, "method=glora", "method.path=random", "reduce=float");
    trouble(path, "method=glora", "method.path=random", "reduce=exact");
    trouble(path, "method=full", "model.width=32", "reduce=float");
    trouble(path, "method=full", "model.width=256", "node_reduce=on");
    drift(path);
    factors(path);
    choice(path);
  }
  CHECK_DONE(comm_agree(world, 0));
  if (comm_rank(world) == 0) unlink(path);
  return checks_end();
}
