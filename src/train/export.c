#include "train/export.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"
#include "store/file.h"
#include "store/safetensors.h"
#include "train/run.h"

static int is_same_place(const char *a, const char *b) {
  struct stat of_a, of_b;
  return !stat(a, &of_a) && !stat(b, &of_b) && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

int export_check(const config *c, const char *directory) {
  char source[4096];
  if (c->model.init != INIT_PRETRAINED) return ERROR_NONE;
  TRY(run_find_file("model.path", c->model.path, "PEFTSCALE_ASSETS", NULL, source, sizeof source));
  if (!is_same_place(source, directory)) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "choose another directory", "%s: the base model was read from here, and its weights would be overwritten", directory);
}

int export_prepare(const config *c, const char *directory) {
  TRY(export_check(c, directory));
  TRY(file_make_directory(directory));
  return file_check_writable(directory);
}

typedef struct gathering {
  arena *memory;
  safetensors_output *tensors;
  int count;
} gathering;

/* Parameters of the base model have the family's prefix in files; those of a language-model head have none. */
static int gather_param(const model *m, int index, gathering *g) {
  const param *p = model_param(m, index);
  if (p->role == SEGMENT_HEAD && model_options_of(m)->objective != MODEL_MLM) return ERROR_NONE; /* a sentence head belongs to its task */
  real *value;
  TRY(arena_take(g->memory, (size_t)p->rows * (size_t)p->cols, sizeof(real), &value));
  TRY(model_merged_value(m, index, value));
  int parts = model_param_parts(m, index), vector = p->kind != PARAM_WEIGHT && p->kind != PARAM_EMBEDDING;
  for (int part = 0; part < parts; part++) {
    char name[METHOD_NAME_BYTES], full[METHOD_NAME_BYTES + 16], *kept;
    int first_row, rows;
    model_param_part(m, index, part, name, &first_row, &rows);
    snprintf(full, sizeof full, "%s%s", p->role == SEGMENT_BASE ? model_shape_of(m)->family->prefix : "", name);
    TRY(arena_copy_text(g->memory, full, &kept));
    safetensors_output *t = &g->tensors[g->count++];
    *t = (safetensors_output){.name = kept, .dims = vector ? 1 : 2};
    t->shape[0] = vector ? (parts > 1 ? rows : p->cols) : rows;
    t->shape[1] = vector ? 0 : p->cols;
    t->values = value + (vector ? first_row : (int64_t)first_row * p->cols);
  }
  return ERROR_NONE;
}

static int write_files(model *m, const real *theta, const char *experiment_id, const char *directory, gathering *g) {
  char path[4200], text[2048];
  const char *metadata[] = {"format", "pt", *experiment_id ? "experiment_id" : NULL, experiment_id, NULL};
  TRY(model_choose(m, METHOD_EVALUATION));
  TRY(model_expand(m, theta));
  TRY(arena_take(g->memory, 3 * (size_t)model_param_count(m), sizeof *g->tensors, &g->tensors));
  for (int i = 0; i < model_param_count(m); i++) TRY(gather_param(m, i, g));
  TRY(file_make_directory(directory));
  TRY(text_format(path, sizeof path, "%s/model.safetensors", directory));
  TRY(safetensors_write(path, g->tensors, g->count, metadata));
  TRY(model_shape_write(model_shape_of(m), text, sizeof text));
  TRY(text_format(path, sizeof path, "%s/config.json", directory));
  return file_write_atomic(path, text, strlen(text));
}

int export_backbone(model *m, const real *theta, const char *experiment_id, const char *directory) {
  gathering g = {0};
  TRY(arena_create(&g.memory));
  int code = write_files(m, theta, experiment_id, directory, &g);
  arena_destroy(g.memory);
  return code;
}
