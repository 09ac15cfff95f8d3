#include "train/comm_file.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "store/file.h"
#include "store/provenance.h"
#include "store/runfile.h"

enum { SCHEMA_VERSION = 1 };

typedef struct case_row {
  int32_t number, ranks, nodes;
  char algorithm[24], label[COMM_FILE_LABEL], model[COMM_FILE_LABEL], method[COMM_FILE_METHOD];
  int64_t payload_bytes;
  int32_t rounds;
  double counted_bytes_mean;
  int64_t counted_bytes_max;
} case_row;

static const field case_fields[] = {
    {"case", "1", FIELD_INT32, 1, offsetof(case_row, number)},
    {"ranks", "1", FIELD_INT32, 1, offsetof(case_row, ranks)},
    {"nodes", "1", FIELD_INT32, 1, offsetof(case_row, nodes)},
    {"algorithm", "text", FIELD_TEXT, 24, offsetof(case_row, algorithm)},
    {"label", "text", FIELD_TEXT, COMM_FILE_LABEL, offsetof(case_row, label)},
    {"model", "text", FIELD_TEXT, COMM_FILE_LABEL, offsetof(case_row, model)},
    {"method", "text", FIELD_TEXT, COMM_FILE_METHOD, offsetof(case_row, method)},
    {"payload_bytes", "bytes", FIELD_INT64, 1, offsetof(case_row, payload_bytes)},
    {"rounds", "1", FIELD_INT32, 1, offsetof(case_row, rounds)},
    {"counted_bytes_mean", "bytes", FIELD_DOUBLE, 1, offsetof(case_row, counted_bytes_mean)},
    {"counted_bytes_max", "bytes", FIELD_INT64, 1, offsetof(case_row, counted_bytes_max)},
};

typedef struct repetition_row {
  int32_t number, repetition;
  double seconds, seconds_mean, wire_bytes_mean;
  int64_t wire_bytes_max;
} repetition_row;

static const field repetition_fields[] = {
    {"case", "1", FIELD_INT32, 1, offsetof(repetition_row, number)},
    {"repetition", "1", FIELD_INT32, 1, offsetof(repetition_row, repetition)},
    {"seconds", "s", FIELD_DOUBLE, 1, offsetof(repetition_row, seconds)},
    {"seconds_mean", "s", FIELD_DOUBLE, 1, offsetof(repetition_row, seconds_mean)},
    {"wire_bytes_mean", "bytes", FIELD_DOUBLE, 1, offsetof(repetition_row, wire_bytes_mean)},
    {"wire_bytes_max", "bytes", FIELD_INT64, 1, offsetof(repetition_row, wire_bytes_max)},
};

#define TABLE(path, help, type, fields) \
  { path, help, sizeof(type), fields, (int)(sizeof fields / sizeof *fields) }
static const table case_table = TABLE("cases", "one row per measured all-reduce: ranks, algorithm and size", case_row, case_fields);
static const table repetition_table =
    TABLE("repetitions", "one row per repetition of a case; seconds: of the slowest rank, from a common start", repetition_row, repetition_fields);

struct comm_file {
  runfile *file;
  int cases, repetitions;
  int32_t count;
};

static int put_provenance(runfile *file, const comm *c, const char *binding) {
  provenance p = {0};
  provenance_collect(&p);
  provenance_add(&p, "mpi", "%s", comm_library());
  provenance_add(&p, "ranks", "%d", comm_size(c));
  provenance_add(&p, "nodes", "%d", comm_nodes(c));
  provenance_add(&p, "binding", "%s", binding);
  for (int i = 0; i < p.count; i++) TRY(runfile_put_attribute_text(file, "provenance", p.items[i].name, p.items[i].value));
  return ERROR_NONE;
}

static int fill(comm_file *f, const comm *c, const comm_file_head *head) {
  TRY(runfile_put_attribute_text(f->file, "", "network", head->network));
  TRY(runfile_put_attribute_double(f->file, "", "rate_bits_per_s", head->rate_bits_per_s));
  TRY(runfile_put_attribute_text(f->file, "", "reduce", head->reduce));
  TRY(runfile_put_attribute_int(f->file, "", "ranks", comm_size(c)));
  TRY(runfile_put_attribute_int(f->file, "", "nodes", comm_nodes(c)));
  TRY(runfile_put_attribute_text(f->file, "", "wire", comm_wire_name(c)));
  TRY(put_provenance(f->file, c, head->binding));
  TRY(runfile_add_table(f->file, &case_table, &f->cases));
  TRY(runfile_add_table(f->file, &repetition_table, &f->repetitions));
  return runfile_start(f->file);
}

int comm_file_create(const char *path, comm *c, const comm_file_head *head, comm_file **result) {
  *result = NULL;
  TRY(file_check_target(path));
  comm_file *f = calloc(1, sizeof *f);
  if (!f) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", path);
  int code = runfile_create_kind(path, "peftscale comm", SCHEMA_VERSION, &f->file);
  if (!code) code = fill(f, c, head);
  if (code) comm_file_abandon(f, error_last()->text);
  else *result = f;
  return code;
}

static int add_repetitions(comm_file *f, int count, const bench_sample *samples) {
  repetition_row *rows = calloc((size_t)count, sizeof *rows);
  if (!rows) return FAIL(ERROR_MEMORY, NULL, "out of memory for %d repetitions", count);
  for (int i = 0; i < count; i++)
    rows[i] = (repetition_row){f->count, i, samples[i].seconds, samples[i].seconds_mean, samples[i].wire_mean, samples[i].wire_max};
  int code = runfile_append(f->file, f->repetitions, rows, count);
  free(rows);
  return code;
}

/* The case goes first: of a killed measurement no repetition lacks its case. */
int comm_file_add(comm_file *f, const comm_file_case *what, const bench_case *one, const bench_result *result, const bench_sample *samples) {
  case_row row = {.number = f->count,
                  .ranks = one->ranks,
                  .nodes = result->nodes,
                  .payload_bytes = bench_payload(one),
                  .rounds = result->rounds,
                  .counted_bytes_mean = result->counted_mean,
                  .counted_bytes_max = result->counted_max};
  snprintf(row.algorithm, sizeof row.algorithm, "%s", bench_algorithm_names[one->algorithm]);
  snprintf(row.label, sizeof row.label, "%s", what->label);
  snprintf(row.model, sizeof row.model, "%s", what->model);
  snprintf(row.method, sizeof row.method, "%s", what->method);
  TRY(runfile_append(f->file, f->cases, &row, 1));
  TRY(runfile_flush(f->file, f->cases));
  TRY(add_repetitions(f, result->samples, samples));
  f->count++;
  return runfile_flush(f->file, f->repetitions);
}

int comm_file_finish(comm_file *f) {
  runfile *file = f->file;
  free(f);
  return runfile_finish(file);
}

void comm_file_abandon(comm_file *f, const char *reason) {
  char text[1100];
  if (!f) return;
  snprintf(text, sizeof text, "failed: %s", reason);
  runfile_abandon(f->file, text);
  free(f);
}
