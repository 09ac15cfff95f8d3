/* Two runs: of one experiment step by step, of two experiments as rows of one table. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "train/check_private.h"

#define DIFFERENCE(...) check_add(memory, &p->differences, __VA_ARGS__)
#define NOTE(...) check_add(memory, &p->notes, __VA_ARGS__)

static double allowed(double tolerance, int64_t step) { return tolerance * (1 + (double)step / CHECK_GROWTH_STEPS); }

static double distance(double a, double b, double scale) {
  double most = fmax(fmax(fabs(a), fabs(b)), scale);
  return a == b ? 0 : fabs(a - b) / most;
}

static int same_bits(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

/* ---- one experiment ---- */

typedef struct twins {
  const check_run *a, *b;
  double tolerance;
  arena *memory;
  check_pair *p;
} twins;

/* Content that follows from the experiment alone. Those that a file of an older version lacks are not compared. */
static int compare_hashes(const twins *t) {
  const check_provenance *a = &t->a->provenance, *b = &t->b->provenance;
  arena *memory = t->memory;
  check_pair *p = t->p;
  const struct {
    const char *name, *a, *b;
  } hashes[] = {{"initial_theta_hash", a->initial_theta_hash, b->initial_theta_hash},
                {"order_hash", a->order_hash, b->order_hash},
                {"schedule_hash", a->schedule_hash, b->schedule_hash}};
  for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
    if (*hashes[i].a && *hashes[i].b && strcmp(hashes[i].a, hashes[i].b)) TRY(DIFFERENCE("%s: %.8s and %.8s", hashes[i].name, hashes[i].a, hashes[i].b));
  return ERROR_NONE;
}

static int note_execution(const check_run *x, const check_run *y, arena *memory, check_pair *p) {
  const check_provenance *a = &x->provenance, *b = &y->provenance;
  if (a->ranks != b->ranks) TRY(NOTE("%lld and %lld ranks", (long long)a->ranks, (long long)b->ranks));
  if (a->threads != b->threads) TRY(NOTE("%lld and %lld threads", (long long)a->threads, (long long)b->threads));
  if (a->nodes != b->nodes) TRY(NOTE("%lld and %lld nodes", (long long)a->nodes, (long long)b->nodes));
  if (check_is_exact(x) != check_is_exact(y)) TRY(NOTE("%s and %s sums", check_is_exact(x) ? "exact" : "float", check_is_exact(y) ? "exact" : "float"));
  if (*a->binary_hash && *b->binary_hash && strcmp(a->binary_hash, b->binary_hash))
    TRY(NOTE("two programs: binary_hash %.8s and %.8s", a->binary_hash, b->binary_hash));
  if (*a->mpi && *b->mpi && strcmp(a->mpi, b->mpi)) TRY(NOTE("two MPI libraries: '%.60s' and '%.60s'", a->mpi, b->mpi));
  if (strcmp(a->blas, b->blas)) TRY(NOTE("two BLAS libraries: '%.60s' and '%.60s'", a->blas, b->blas));
  return ERROR_NONE;
}

static int compare_bits(const twins *t, const check_step *x, const check_step *y) {
  arena *memory = t->memory;
  check_pair *p = t->p;
  if (t->a->has_hashes && t->b->has_hashes && x->theta_hash != y->theta_hash)
    TRY(DIFFERENCE("step %lld: theta_hash is %016" PRIx64 " and %016" PRIx64, (long long)x->step, (uint64_t)x->theta_hash, (uint64_t)y->theta_hash));
  if (!same_bits(x->loss, y->loss)) TRY(DIFFERENCE("step %lld: the loss is %.17g and %.17g", (long long)x->step, x->loss, y->loss));
  return ERROR_NONE;
}

static int compare_rounded(const twins *t, const check_step *x, const check_step *y) {
  arena *memory = t->memory;
  check_pair *p = t->p;
  double room = allowed(t->tolerance, x->step);
  double loss = distance(x->loss, y->loss, CHECK_SCALE * fabs(t->a->steps[0].loss)),
         norm = distance(x->grad_norm, y->grad_norm, CHECK_SCALE * t->a->steps[0].grad_norm);
  p->loss = fmax(p->loss, loss);
  p->norm = fmax(p->norm, norm);
  if (!(loss <= room) && !p->first_step)
    TRY(DIFFERENCE("step %lld: the loss is %.9g and %.9g, %.1e apart; allowed is %.1e", (long long)x->step, x->loss, y->loss, loss, room));
  if (!(norm <= room) && !p->first_step)
    TRY(DIFFERENCE("step %lld: the gradient's norm is %.9g and %.9g, %.1e apart; allowed is %.1e", (long long)x->step, x->grad_norm, y->grad_norm, norm, room));
  return ERROR_NONE;
}

/* Only the first step that differs is described: the ones behind it follow from it. */
static int compare_steps(const twins *t) {
  const check_run *a = t->a, *b = t->b;
  arena *memory = t->memory;
  check_pair *p = t->p;
  for (int64_t i = 0, j = 0; i < a->step_count && j < b->step_count;) {
    const check_step *x = &a->steps[i], *y = &b->steps[j];
    i += x->step <= y->step;
    j += y->step <= x->step;
    if (x->step != y->step) continue;
    int before = p->differences.count;
    p->steps++;
    if (p->is_bitwise && p->first_step) continue;
    TRY(p->is_bitwise ? compare_bits(t, x, y) : compare_rounded(t, x, y));
    if (p->differences.count > before) p->first_step = x->step;
  }
  if (a->step_count != b->step_count && a->is_complete && b->is_complete)
    TRY(DIFFERENCE("%lld and %lld steps", (long long)a->step_count, (long long)b->step_count));
  if (!p->steps) TRY(DIFFERENCE("they have no step in common"));
  return ERROR_NONE;
}

static const check_evaluation *find_row(const check_run *r, const check_evaluation *like) {
  for (int64_t i = 0; i < r->evaluation_count; i++)
    if (r->evaluations[i].step == like->step && !strcmp(r->evaluations[i].split, like->split)) return &r->evaluations[i];
  return NULL;
}

static int64_t last_step(const check_run *r) { return r->step_count ? r->steps[r->step_count - 1].step : 0; }

/* Of each evaluated theta the loss, which is continuous. */
static int compare_evaluations(const twins *t) {
  arena *memory = t->memory;
  check_pair *p = t->p;
  double room = allowed(t->tolerance, last_step(t->a));
  for (int64_t i = 0; i < t->a->evaluation_count; i++) {
    const check_evaluation *x = &t->a->evaluations[i], *y = find_row(t->b, x);
    if (!y || (x->count == 0 && y->count == 0)) continue;
    int agree = p->is_bitwise ? same_bits(x->loss, y->loss) : distance(x->loss, y->loss, CHECK_SCALE * fabs(t->a->evaluations[0].loss)) <= room;
    if (agree) continue;
    return DIFFERENCE("%s after step %lld: the loss is %.9g and %.9g", x->split, (long long)x->step, x->loss, y->loss);
  }
  return ERROR_NONE;
}

/* ---- the final model ---- */

static double largest_score(const check_predictions *x) {
  double most = 0;
  for (int64_t i = 0; i < x->count * x->classes; i++) most = fmax(most, fabs((double)x->score[i]));
  return most;
}

static int compare_predictions(const twins *t, int which, int *flips) {
  const check_predictions *x = &t->a->predictions[which], *y = &t->b->predictions[which];
  const char *name = check_split_names[which];
  arena *memory = t->memory;
  check_pair *p = t->p;
  double room = allowed(t->tolerance, last_step(t->a)), scale = largest_score(x);
  if (x->count != y->count || x->classes != y->classes)
    return DIFFERENCE("%s: %lld and %lld predictions, %d and %d scores each", name, (long long)x->count, (long long)y->count, x->classes, y->classes);
  if (isnan(p->scores)) p->scores = 0;
  for (int64_t i = 0; i < x->count; i++) {
    if (x->example[i] != y->example[i] || x->label[i] != y->label[i])
      return DIFFERENCE("%s: prediction %lld is of example %lld and %lld, or their labels differ", name, (long long)i, (long long)x->example[i],
                        (long long)y->example[i]);
    *flips += x->prediction[i] != y->prediction[i];
    for (int j = 0; j < x->classes; j++) {
      float u = x->score[i * x->classes + j], v = y->score[i * x->classes + j];
      double apart = distance((double)u, (double)v, scale);
      p->scores = fmax(p->scores, apart);
      if (p->is_bitwise ? memcmp(&u, &v, sizeof u) == 0 : apart <= room) continue;
      return DIFFERENCE("%s, example %lld: score %d is %.9g and %.9g", name, (long long)x->example[i], j, (double)u, (double)v);
    }
  }
  return ERROR_NONE;
}

static double final_metric(const check_run *r, int which) { return which == CHECK_TEST ? r->result.test_metric : r->result.validation_metric; }

/* Equal scores give equal metrics; scores that are equal to rounding may turn a prediction over where two are as good as equal. */
static int compare_final(const twins *t, int which) {
  const char *name = check_split_names[which];
  arena *memory = t->memory;
  check_pair *p = t->p;
  double x = final_metric(t->a, which), y = final_metric(t->b, which);
  if (which == CHECK_TEST && t->a->config && t->b->config && t->a->config->output.test != t->b->config->output.test)
    return NOTE("test: one of them did not read it (output.test=false)");
  int flips = 0, before = p->differences.count, have = t->a->predictions[which].count > 0 && t->b->predictions[which].count > 0;
  if (have) TRY(compare_predictions(t, which, &flips));
  if (p->differences.count > before) return ERROR_NONE;
  if (flips) TRY(NOTE("%s: %d predictions turn over between scores that are equal to rounding", name, flips));
  if ((isnan(x) && isnan(y)) || same_bits(x, y)) return ERROR_NONE;
  if (!p->is_bitwise && (flips || distance(x, y, 1) <= allowed(t->tolerance, last_step(t->a)))) return ERROR_NONE;
  return DIFFERENCE("%s %s is %.9g and %.9g", name, t->a->result.metric, x, y);
}

static int compare_results(const twins *t) {
  const check_result *x = &t->a->result, *y = &t->b->result;
  arena *memory = t->memory;
  check_pair *p = t->p;
  if (!t->a->is_complete || !t->b->is_complete) return ERROR_NONE;
  if (x->best_step != y->best_step) { /* by a metric that rounding turned over; the evaluations were compared */
    if (!p->is_bitwise) return NOTE("step %lld and %lld were kept: final models are not compared", (long long)x->best_step, (long long)y->best_step);
    return DIFFERENCE("step %lld and %lld were kept", (long long)x->best_step, (long long)y->best_step);
  }
  if (p->is_bitwise && strcmp(x->theta_hash, y->theta_hash)) TRY(DIFFERENCE("the kept theta's hash is %.8s and %.8s", x->theta_hash, y->theta_hash));
  for (int which = 0; which < CHECK_SPLITS; which++) TRY(compare_final(t, which));
  return ERROR_NONE;
}

/* Of the libraries that multiplied in both; who multiplied by frozen weights is the same in one experiment. */
static int same_kernels(const check_provenance *x, const check_provenance *y) {
  return *x->blas_core && !strcmp(x->blas_core, y->blas_core) && (!strstr(x->backend, "onednn") || !strcmp(x->onednn, y->onednn));
}

int check_same_experiment(const check_run *a, const check_run *b, double tolerance, arena *memory, check_pair *p) {
  const twins t = {a, b, tolerance, memory, p};
  int exact = check_is_exact(a) && check_is_exact(b), one_kernel = same_kernels(&a->provenance, &b->provenance);
  p->is_bitwise = exact && one_kernel;
  p->loss = p->norm = p->is_bitwise ? NAN : 0;
  p->scores = NAN;
  if (exact && !one_kernel)
    TRY(NOTE("compared to rounding: the kernels are %.40s %.60s and %.40s %.60s", a->provenance.blas_core, a->provenance.onednn, b->provenance.blas_core,
             b->provenance.onednn));
  TRY(compare_hashes(&t));
  TRY(compare_steps(&t));
  TRY(compare_evaluations(&t));
  TRY(compare_results(&t));
  TRY(note_execution(a, b, memory, p));
  if (!p->is_bitwise && p->first_step > 1)
    TRY(NOTE("float sums may part for good where rounding decides a choice (VB-LoRA's top-k); with reduce=exact every step must be equal bit for bit"));
  p->relation = p->differences.count ? CHECK_DIFFER : CHECK_AGREE;
  return ERROR_NONE;
}

/* ---- two experiments ---- */

/* Settings that belong to a method: its own, and what is tuned for it. */
static int may_differ(const char *key, size_t length) {
  static const char *const keys[] = {"seed", "train.lr", "train.lr_head", "train.decay", "train.decay_head", "model.dropout_adapter"};
  if (length > 7 && !strncmp(key, "method.", 7)) return 1;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (strlen(keys[i]) == length && !strncmp(keys[i], key, length)) return 1;
  return 0;
}

/* One line KEY=VALUE of a canonical text; at its end all lengths are 0. */
typedef struct setting {
  const char *key, *value;
  size_t key_length, value_length;
} setting;

static setting read_setting(const char *line) {
  size_t length = strcspn(line, "\n"), key = strcspn(line, "=\n");
  return (setting){line, key < length ? line + key + 1 : line + length, key, key < length ? length - key - 1 : 0};
}

static const char *next_line(const char *line) {
  line += strcspn(line, "\n");
  return *line ? line + 1 : line;
}

/* By key; a text that has ended comes last. */
static int compare_keys(const setting *a, const setting *b) {
  if (!a->key_length || !b->key_length) return (a->key_length == 0) - (b->key_length == 0);
  size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
  int order = strncmp(a->key, b->key, shorter);
  return order ? order : (a->key_length > b->key_length) - (a->key_length < b->key_length);
}

static int compare_settings(const check_run *a, const check_run *b, arena *memory, check_pair *p) {
  const char *x = a->canonical, *y = b->canonical;
  while (*x || *y) {
    setting u = read_setting(x), v = read_setting(y);
    int order = compare_keys(&u, &v);
    if (order <= 0 && *x) x = next_line(x);
    if (order >= 0 && *y) y = next_line(y);
    if (order == 0 && u.value_length == v.value_length && !strncmp(u.value, v.value, u.value_length)) continue;
    const setting *named = order <= 0 ? &u : &v;
    if (order < 0) v = (setting){.value = "-", .value_length = 1};
    if (order > 0) u = (setting){.value = "-", .value_length = 1};
    TRY(check_add(memory, may_differ(named->key, named->key_length) ? &p->listed : &p->differences, "%.*s: %.*s and %.*s", (int)named->key_length, named->key,
                  (int)u.value_length, u.value, (int)v.value_length, v.value));
  }
  return ERROR_NONE;
}

/* What must be equal; not to know it is no proof that it is. */
static int compare_text(const char *name, const char *a, const char *b, arena *memory, check_pair *p) {
  if (!*a || !*b) return DIFFERENCE("%s: not in %s", name, *a ? "the second file" : *b ? "the first file" : "either file");
  return strcmp(a, b) ? DIFFERENCE("%s: %.60s and %.60s", name, a, b) : ERROR_NONE;
}

int check_comparable(const check_run *a, const check_run *b, const check_run *order, arena *memory, check_pair *p) {
  const check_provenance *x = &a->provenance, *y = &b->provenance;
  p->loss = p->norm = p->scores = NAN;
  TRY(compare_settings(a, b, memory, p));
  TRY(compare_text("weights_hash", x->weights_hash, y->weights_hash, memory, p));
  TRY(compare_text("dataset_hash", x->dataset_hash, y->dataset_hash, memory, p));
  if (strcmp(x->start_hash, y->start_hash))
    TRY(DIFFERENCE("start_hash: %s and %s", *x->start_hash ? x->start_hash : "-", *y->start_hash ? y->start_hash : "-"));
  if (order && order != a) TRY(NOTE("sample order compared with %.200s, which has its seed", order->path));
  if (order) TRY(compare_text("order_hash", order->provenance.order_hash, y->order_hash, memory, p));
  else TRY(NOTE("sample order not compared: no run before it has its seed"));
  TRY(compare_text("backend", x->backend, y->backend, memory, p));
  TRY(compare_text("blas_core", x->blas_core, y->blas_core, memory, p));
  if (strstr(x->backend, "onednn")) TRY(compare_text("onednn", x->onednn, y->onednn, memory, p));
  TRY(note_execution(a, b, memory, p));
  p->relation = p->differences.count ? CHECK_NOT_COMPARABLE : CHECK_COMPARABLE;
  return ERROR_NONE;
}
