#include "train/check.h"

#include <math.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/check.h"
#include "cmd/cmd.h"

static int read_tolerance(const char *text, double *tolerance) {
  *tolerance = CHECK_TOLERANCE;
  if (!text) return ERROR_NONE;
  if (!text_to_double(text, tolerance) && isfinite(*tolerance) && *tolerance >= 0) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "for example --tolerance 1e-5", "--tolerance %.40s is no number from 0 on", text);
}

/* One sentence for the exit status. */
static int conclude(const check_report *r, int wants_comparable) {
  if (r->invalid) return FAIL(ERROR_INPUT, NULL, "%d of %d files %s INVALID", r->invalid, r->run_count, r->invalid > 1 ? "are" : "is");
  if (r->differ) return FAIL(ERROR_INPUT, NULL, "%d of %d comparisons: runs of one experiment DIFFER", r->differ, r->pair_count);
  if (wants_comparable && r->not_comparable) return FAIL(ERROR_INPUT, NULL, "%d of %d comparisons: NOT COMPARABLE", r->not_comparable, r->pair_count);
  return ERROR_NONE;
}

static int act(comm *none, int argc, char **argv) {
  int json = 0, comparable = 0;
  const char *tolerance_text = NULL;
  double tolerance;
  const flag flags[] = {{"json", NULL, &json}, {"comparable", NULL, &comparable}, {"tolerance", &tolerance_text, NULL}};
  arguments a;
  check_report *r;
  (void)none;
  TRY(arguments_parse("check", argc, argv, flags, 3, &a));
  if (a.assignment_count) return FAIL(ERROR_USAGE, "write ./NAME=... for a file of such a name", "%s: check takes no settings", a.assignments[0]);
  if (a.word_count == 0) return FAIL(ERROR_USAGE, "see: peftscale check --help", "check takes run files");
  TRY(read_tolerance(tolerance_text, &tolerance));
  TRY(check_files(a.words, a.word_count, tolerance, &r));
  if (json) check_print_json(r);
  else check_print_text(r);
  int code = conclude(r, comparable);
  check_destroy(r);
  return code;
}

const verb verb_check = {"check", "say whether run files are valid, whether equal runs agree and unequal ones compare",
                         "usage: peftscale check RUN.h5 [RUN.h5 ...] [--comparable] [--tolerance T] [--json]\n"
                         "\n"
                         "Each file is VALID or INVALID, with reasons: whether it is a whole training whose identity, schedule, payload, theta,\n"
                         "evaluations and predictions follow from each other. A hand's edit of one of them is found; it is no signature.\n"
                         "\n"
                         "Runs of one experiment_id must AGREE, whatever their ranks and threads: with reduce=exact bit for bit in every step\n"
                         "(theta's hash, loss, predictions), else to rounding. The first step that differs is named. Runs of different\n"
                         "experiments are COMPARABLE as rows of one table where only the method, its options, rates and the seed differ.\n"
                         "\n"
                         "  --comparable   fail also where runs are NOT COMPARABLE\n"
                         "  --tolerance T  of float runs, relative, in the first step (1e-5); ten steps later twice that, and so on\n"
                         "  --json         one object with all that was found\n"
                         "\n"
                         "exit status: 0 all are valid and equal runs agree, 1 not so\n"
                         "\n"
                         "example:\n"
                         "  peftscale check results/runs/trec6-lora-s1-0a1b2c3d.h5 results/runs/trec6-lora-s1-4e5f6a7b.h5\n",
                         0, act};
