#include "train/profile.h"

#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "train/internal.h"

static const double probe_s = 0.2;

int run_profile_begin(run *r) {
  run_profile *p;
  TRY(arena_take(r->memory, 1, sizeof *p, &p));
  TRY(arena_take(r->memory, (size_t)r->threads, sizeof *p->parts, &p->parts));
  for (int t = 0; t < r->threads; t++) model_workspace_profile(r->workspaces[t], &p->parts[t]);
  p->steps = -1;
  r->profile = p;
  return ERROR_NONE;
}

void run_profile_step(run *r, const struct step_result *s) {
  run_profile *p = r->profile;
  if (!p) return;
  if (++p->steps == 0) { /* the first one does not count */
    for (int t = 0; t < r->threads; t++) {
      memset(p->parts[t].forward, 0, sizeof p->parts[t].forward);
      memset(p->parts[t].backward, 0, sizeof p->parts[t].backward);
    }
    return;
  }
  p->tokens += (double)s->my_tokens;
  p->expand_s += s->times.expand_s;
  p->gather_s += s->times.gather_s;
  p->wait_s += s->times.wait_s;
  p->communication_s += s->times.communication_s - s->times.wait_s;
  p->optimizer_s += s->times.optimizer_s;
  p->step_s += s->times.step_s;
}

/* In all threads at once, since cores share power and memory. */
static double probe(const run *r, linalg_precision precision) {
  double sum = 0;
#pragma omp parallel for num_threads(r->threads) schedule(static, 1) reduction(+ : sum)
  for (int t = 0; t < r->threads; t++) sum += linalg_peak(precision, probe_s);
  return sum / r->threads;
}

int run_profile_end(run *r) {
  TRY(comm_agree(r->comm, ERROR_NONE)); /* all at once */
  r->profile->peak = r->profile->f32_peak = probe(r, LINALG_F32);
  if (r->config->precision == PRECISION_BF16) r->profile->peak = probe(r, LINALG_BF16);
  return ERROR_NONE;
}

model_profile_row run_profile_row(const run *r, model_part part, int is_backward) {
  const run_profile *p = r->profile;
  model_profile_row sum = {0};
  for (int t = 0; t < r->threads && p->steps > 0; t++) {
    const model_profile_row *row = is_backward ? &p->parts[t].backward[part] : &p->parts[t].forward[part];
    sum.seconds += row->seconds / r->threads / (double)p->steps;
    sum.flop += row->flop / r->threads / (double)p->steps;
  }
  return sum;
}
