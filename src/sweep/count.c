#include "sweep/count.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "model/census.h"
#include "store/file.h"
#include "store/provenance.h"
#include "sweep/plan_private.h"

enum { FILE_BYTES = 1 << 26, CLASSES = 2, LABEL_WIDTH = 46 };

static const char header[] =
    "request_id\tsource_hash\tstage\tlabel\tmodel\tmethod\ttrainable\tstored_bytes\tregenerated_bytes\tsent_floats\tsent_floats_with_head\t"
    "head_floats\tbase_floats\treason\n";

typedef struct counted {
  method_counts counts;
  int64_t head, base;
} counted;

/* The head that a model's own family has: RoBERTa's is dense, tanh, linear. */
static int count_one(const plan *p, const plan_run *entry, counted *result) {
  const method *chosen;
  census *taken = NULL;
  config *c;
  TRY(study_compose(p->study, entry->asked, NULL, &c));
  int code = method_find(c->method.name, &chosen);
  if (!code) code = census_of_name(c->model.name, &taken);
  if (!code) {
    *result = (counted){.head = census_head_count(taken, !strncmp(c->model.name, "roberta", 7), CLASSES), .base = census_base_count(taken)};
    code = census_count(taken, chosen, &c->method.options, &result->counts);
  }
  census_destroy(taken);
  config_destroy(c);
  return code;
}

static int add_run(const plan_run *entry, int failed, const counted *n, file_writer *w, FILE *out) {
  char trained[32], stored[32], sent[32];
  const char *label = entry->asked->label;
  TRY(file_writer_print(w, "%s\t%s\t%s\t%s\t%s\t%s\t", entry->id, provenance_source_hash(), entry->asked->stage, label, entry->model, entry->method));
  if (failed) {
    fprintf(out, "  %-*s  %s\n", LABEL_WIDTH, label, error_last()->text);
    return file_writer_print(w, "\t\t\t\t\t\t\t%.500s\n", error_last()->text);
  }
  fprintf(out, "  %-*s %15s %9s %9s\n", LABEL_WIDTH, label, text_thousands(n->counts.trainable, trained), text_bytes((double)n->counts.stored_bytes, stored),
          text_bytes(4.0 * (double)n->counts.sent_floats, sent));
  return file_writer_print(w, "%lld\t%lld\t%lld\t%lld\t%lld\t%lld\t%lld\t\n", (long long)n->counts.trainable, (long long)n->counts.stored_bytes,
                           (long long)n->counts.regenerated_bytes, (long long)n->counts.sent_floats, (long long)(n->counts.sent_floats + n->head),
                           (long long)n->head, (long long)n->base);
}

static int count_all(const plan *p, file_writer *w, FILE *out, int *failed) {
  const char *stage = NULL;
  TRY(file_writer_print(w, "%s", header));
  for (int i = 0; i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    counted n;
    if (entry->same_as >= 0) continue;
    if (!stage || strcmp(stage, entry->asked->stage)) {
      stage = entry->asked->stage;
      fprintf(out, "\n  %-*s %15s %9s %9s\n", LABEL_WIDTH, stage, "trainable", "stored", "sent");
    }
    int code = count_one(p, entry, &n);
    *failed += code != ERROR_NONE;
    TRY(add_run(entry, code, &n, w, out));
  }
  return ERROR_NONE;
}

int count_study(const plan *p, FILE *out, int *failed) {
  char path[PLAN_PATH_BYTES];
  file_writer *w;
  *failed = 0;
  TRY(text_format(path, sizeof path, "%s/counts.tsv", p->results));
  TRY(file_make_directory(p->results));
  TRY(file_writer_create(path, &w));
  int code = count_all(p, w, out, failed);
  if (code) {
    file_writer_discard(w);
    return code;
  }
  TRY(file_writer_commit(w));
  fprintf(out, "\nWritten: %s (the method's own numbers; the task head apart)\n", path);
  return ERROR_NONE;
}

void count_look(plan *p) {
  char path[PLAN_PATH_BYTES], *bytes;
  size_t count;
  for (int i = 0; i < p->count; i++) p->runs[i].state = PLAN_MISSING;
  if (text_format(path, sizeof path, "%s/counts.tsv", p->results) || access(path, R_OK) || file_read(path, FILE_BYTES, &bytes, &count)) return;
  for (char *line = bytes, *end; *line; line = end) {
    char id[HASH_TEXT_BYTES], source[HASH_TEXT_BYTES];
    end = line + strcspn(line, "\n");
    if (*end) *end++ = 0;
    if (sscanf(line, "%32s\t%32s", id, source) != 2) continue;
    int place = plan_find(p, id);
    if (place < 0) continue;
    plan_run *entry = &p->runs[place];
    const char *reason = strrchr(line, '\t');
    entry->state = strcmp(source, provenance_source_hash()) ? PLAN_STALE : PLAN_DONE;
    if (!reason || !reason[1]) continue;
    entry->state = PLAN_FAILED;
    snprintf(entry->reason, sizeof entry->reason, "%.*s", PLAN_REASON_BYTES - 1, reason + 1);
    text_clean(entry->reason);
  }
  free(bytes);
}
