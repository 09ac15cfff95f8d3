#include "train/export.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "store/file.h"
#include "store/safetensors.h"

typedef struct gathering {
  arena *memory;
  safetensors_output *tensors;
  int count;
} gathering;

/* Parameters of the base model have the family's prefix in files; those of a language-model head have none. */
static int gather_param(run *r, int index, gathering *g) {
  const param *p = model_param(r->model, index);
  if (p->role == SEGMENT_HEAD && r->config->task.objective != OBJECTIVE_MLM) return ERROR_NONE; /* a sentence head belongs to its task */
  real *value;
  TRY(arena_take(g->memory, (size_t)p->rows * (size_t)p->cols, sizeof(real), &value));
  TRY(model_merged_value(r->model, index, value));
  int parts = model_param_parts(r->model, index), vector = p->kind != PARAM_WEIGHT && p->kind != PARAM_EMBEDDING;
  for (int part = 0; part < parts; part++) {
    char name[METHOD_NAME_BYTES], full[METHOD_NAME_BYTES + 16], *kept;
    int first_row, rows;
    model_param_part(r->model, index, part, name, &first_row, &rows);
    snprintf(full, sizeof full, "%s%s", p->role == SEGMENT_BASE ? model_shape_of(r->model)->family->prefix : "", name);
    TRY(arena_copy_text(g->memory, full, &kept));
    safetensors_output *t = &g->tensors[g->count++];
    *t = (safetensors_output){.name = kept, .dims = vector ? 1 : 2};
    t->shape[0] = vector ? (parts > 1 ? rows : p->cols) : rows;
    t->shape[1] = vector ? 0 : p->cols;
    t->values = value + (vector ? first_row : (int64_t)first_row * p->cols);
  }
  return ERROR_NONE;
}

static int write_files(run *r, const char *directory, gathering *g) {
  char path[4200], text[2048];
  const char *metadata[] = {"format", "pt", "experiment_id", r->experiment_id, NULL};
  TRY(model_expand(r->model, r->chosen));
  TRY(arena_take(g->memory, 3 * (size_t)model_param_count(r->model), sizeof *g->tensors, &g->tensors));
  for (int i = 0; i < model_param_count(r->model); i++) TRY(gather_param(r, i, g));
  TRY(file_make_directory(directory));
  TRY(text_format(path, sizeof path, "%s/model.safetensors", directory));
  TRY(safetensors_write(path, g->tensors, g->count, metadata));
  TRY(model_shape_write(model_shape_of(r->model), text, sizeof text));
  TRY(text_format(path, sizeof path, "%s/config.json", directory));
  return file_write_atomic(path, text, strlen(text));
}

int export_backbone(run *r, const char *directory) {
  gathering g = {0};
  TRY(arena_create(&g.memory));
  int code = write_files(r, directory, &g);
  arena_destroy(g.memory);
  return code;
}
