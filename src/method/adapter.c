#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "method/method.h"

const char *const segment_role_names[3] = {"adapter", "base", "head"};

int adapter_create(const method *m, const option_set *options, uint64_t seed, double dropout, const site *sites, int site_count, const site_group *groups,
                   int group_count, adapter **result) {
  arena *memory;
  adapter *a;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *a, &a);
  if (!code) {
    *a = (adapter){.method = m,
                   .options = options,
                   .seed = seed,
                   .dropout = dropout,
                   .sites = sites,
                   .site_count = site_count,
                   .groups = groups,
                   .group_count = group_count,
                   .memory = memory};
    code = arena_take(memory, (size_t)group_count, sizeof *a->touched, &a->touched);
  }
  if (!code) code = arena_take(memory, (size_t)group_count, sizeof *a->keeps_input, &a->keeps_input);
  if (!code) code = arena_take(memory, (size_t)group_count, sizeof *a->saved_width, &a->saved_width);
  if (!code && m->plan) code = m->plan(a);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  *result = a;
  return ERROR_NONE;
}

void adapter_destroy(adapter *a) {
  if (a) arena_destroy(a->memory);
}

int adapter_add_segment(adapter *a, const char *name, const char *rate, int decays, int rows, int cols, int64_t *offset) {
  if (a->segment_count == a->segment_capacity) { /* the outgrown list stays in the arena until the adapter goes: a few kilobytes */
    int capacity = a->segment_capacity ? 2 * a->segment_capacity : 64;
    segment *larger;
    TRY(arena_take(a->memory, (size_t)capacity, sizeof *larger, &larger));
    if (a->segment_count) memcpy(larger, a->segments, (size_t)a->segment_count * sizeof *larger);
    a->segments = larger;
    a->segment_capacity = capacity;
  }
  segment *s = &a->segments[a->segment_count++];
  *s = (segment){.role = SEGMENT_ADAPTER, .rate = rate, .decays = decays, .offset = a->theta_count, .rows = rows, .cols = cols};
  snprintf(s->name, sizeof s->name, "%s", name);
  if (offset) *offset = s->offset;
  a->theta_count += (int64_t)rows * cols;
  return ERROR_NONE;
}

int adapter_targets(const adapter *a, const site *s) {
  return option_lists(a->options, "modules", s->module) || (strcmp(s->module, "qkv") && option_lists(a->options, "modules", "all"));
}

int adapter_counts(const adapter *a, method_counts *counts) {
  if (a->method->count) return a->method->count(a, counts);
  int64_t seed = a->method->flags & METHOD_SEEDED ? 8 : 0;
  *counts = (method_counts){.trainable = a->theta_count, .stored_bytes = 4 * a->theta_count + seed, .sent_floats = a->theta_count};
  return ERROR_NONE;
}
