#include "train/former_private.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "store/file.h"
#include "train/identity.h"

#define ANEW "remove it to start the run anew"
enum { PATH_BYTES = 4200 };

int former_checkpoint_path(const run *r, char *path, size_t bytes) { return text_format(path, bytes, "%s.checkpoint", r->path); }

/* Whether these ids, given on so many nodes, are what this run would have there. */
typedef enum kinship { KIN_NONE, KIN_EXPERIMENT, KIN_SAME } kinship;

static int compare_ids(const run *r, const char *experiment_id, const char *run_id, int64_t nodes, kinship *kin) {
  char own_experiment[HASH_TEXT_BYTES], own_run[HASH_TEXT_BYTES];
  TRY(identity_on_nodes(r, (int)nodes, own_experiment, own_run));
  *kin = strcmp(experiment_id, own_experiment) ? KIN_NONE : strcmp(run_id, own_run) ? KIN_EXPERIMENT : KIN_SAME;
  return ERROR_NONE;
}

/* ---- run files ---- */

/* A file that cannot be read, or that no run wrote, is no kin. */
static int compare_file(const run *r, const char *path, kinship *kin) {
  char *experiment_id = NULL, *run_id = NULL, *nodes = NULL;
  int64_t count;
  *kin = KIN_NONE;
  int code = runfile_read_attribute_text(path, "", "experiment_id", &experiment_id);
  if (!code) code = runfile_read_attribute_text(path, "", "run_id", &run_id);
  if (!code) code = runfile_read_attribute_text(path, "provenance", "nodes", &nodes);
  if (!code) code = text_to_int(nodes, &count);
  if (!code) code = compare_ids(r, experiment_id, run_id, count, kin);
  free(experiment_id);
  free(run_id);
  free(nodes);
  return code == ERROR_INPUT ? ERROR_NONE : code;
}

/* A run that was completed and killed before it could remove its checkpoint. */
static int is_finished(const run *r) {
  char *status = NULL;
  kinship kin = KIN_NONE;
  if (access(r->path, F_OK) || compare_file(r, r->path, &kin) || kin != KIN_SAME) return 0;
  int finished = !runfile_read_attribute_text(r->path, "", "status", &status) && !strcmp(status, "complete");
  free(status);
  return finished;
}

/* ---- the attempts before ---- */

typedef struct step_place {
  int64_t attempt, step;
} step_place;

static const field place_fields[] = {{"attempt", NULL, FIELD_INT64, 1, offsetof(step_place, attempt)},
                                     {"step", NULL, FIELD_INT64, 1, offsetof(step_place, step)}};
static const table place_table = {"series/steps", NULL, sizeof(step_place), place_fields, 2};

/* The last step that an attempt wrote down; where it wrote none, the one it began behind. */
static int find_last_step(const char *partial, attempt_row *of) {
  step_place *places;
  int64_t count;
  uint8_t present[2];
  of->last_step = of->first_step;
  TRY(runfile_read_table(partial, &place_table, (void **)&places, &count, present));
  for (int64_t i = 0; i < count; i++)
    if (places[i].attempt == of->attempt && places[i].step > of->last_step) of->last_step = places[i].step;
  free(places);
  return ERROR_NONE;
}

static const char *how_it_ended(const char *status) {
  if (!strncmp(status, "stopped", 7)) return "stopped";
  return strncmp(status, "failed", 6) ? "interrupted" : "failed"; /* still "running": it was killed, or its host died */
}

static int read_attempts(const char *partial, former *f) {
  uint8_t present[16];
  char *status;
  int64_t kept = 0;
  TRY(runfile_read_table(partial, &attempt_table, (void **)&f->attempts, &f->count, present));
  for (int64_t i = 0; i < f->count; i++)
    if (f->attempts[i].attempt > 0) f->attempts[kept++] = f->attempts[i]; /* others were never written whole */
  f->count = kept;
  if (!kept) return FAIL(ERROR_INPUT, NULL, "%s: /attempts has no rows", partial);
  attempt_row *last = &f->attempts[kept - 1];
  TRY(runfile_read_attribute_text(partial, "", "status", &status));
  snprintf(last->ended, sizeof last->ended, "%s", how_it_ended(status));
  free(status);
  f->attempt = last->attempt + (int64_t)1;
  return find_last_step(partial, last);
}

/* ---- the checkpoint ---- */

static int refuse_execution(const run *r, const char *path, const checkpoint_head *h) {
  char text[160] = "another way to execute it (reduce, payload, head_reduce, node_reduce, network or repetition)";
  if (h->ranks != comm_size(r->comm) || h->threads != r->threads)
    snprintf(text, sizeof text, "%lld ranks x %lld threads, not %d x %d", (long long)h->ranks, (long long)h->threads, comm_size(r->comm), r->threads);
  return FAIL(ERROR_INPUT, "start it as it was started, or " ANEW, "%s: is of this experiment, but with %s: a run goes on as it began", path, text);
}

/* Whether the checkpoint is to be gone on from (its file stays open). partial: what the partial run file is to this run. */
static int judge_checkpoint(const run *r, const char *path, kinship partial, former *f) {
  kinship kin;
  TRY(compare_ids(r, f->head.experiment_id, f->head.run_id, f->head.nodes, &kin));
  if (kin == KIN_NONE) {
    log_warning("%s is of another experiment (%.8s): this run starts anew, and will write its own in that place", path, f->head.experiment_id);
    return ERROR_NONE;
  }
  if (kin == KIN_EXPERIMENT) return refuse_execution(r, path, &f->head);
  if (partial != KIN_SAME && is_finished(r)) {
    log_detail("%s was left behind by the finished run", path);
    unlink(path);
    return ERROR_NONE;
  }
  if (partial != KIN_SAME)
    return FAIL(ERROR_INPUT, "put the run file back, or " ANEW, "%s: its run file, with the rows of the steps before, is gone or cannot be read (%s.partial)",
                path, r->path);
  if (f->head.attempt >= f->attempt)
    return FAIL(ERROR_INPUT, "put the run file back that it was written with, or " ANEW, "%s: attempt %lld wrote it, of which %s.partial knows nothing", path,
                (long long)f->head.attempt, r->path);
  if (f->head.steps != r->steps)
    return FAIL(ERROR_INPUT, ANEW, "%s: is damaged: it is of %lld steps, not %lld", path, (long long)f->head.steps, (long long)r->steps);
  if (strcmp(f->head.binary_hash, r->binary_hash))
    log_warning("%s was written by another build of the program: the run goes on, but need not be what either would have made of it", path);
  f->continues = 1;
  return ERROR_NONE;
}

static int find_checkpoint(const run *r, kinship partial, former *f) {
  char path[PATH_BYTES];
  TRY(former_checkpoint_path(r, path, sizeof path));
  file_remove_temporaries(path);
  if (access(path, F_OK)) return ERROR_NONE;
  TRY(checkpoint_open(path, &f->file, &f->head));
  return judge_checkpoint(r, path, partial, f);
}

int former_find(const run *r, former *f) {
  char partial[PATH_BYTES];
  kinship kin = KIN_NONE;
  *f = (former){.attempt = 1};
  TRY(text_format(partial, sizeof partial, "%s.partial", r->path));
  if (access(partial, F_OK) == 0) TRY(compare_file(r, partial, &kin));
  if (kin == KIN_SAME) {
    int code = read_attempts(partial, f);
    if (code && code != ERROR_INPUT) return code;
    if (code) { /* damaged: as good as gone */
      log_warning("%s, of an earlier attempt, cannot be read: %s", partial, error_last()->text);
      free(f->attempts);
      *f = (former){.attempt = 1};
      kin = KIN_NONE;
    }
  }
  return find_checkpoint(r, kin, f);
}

void former_free(former *f) {
  checkpoint_close(f->file);
  free(f->attempts);
  *f = (former){0};
}
