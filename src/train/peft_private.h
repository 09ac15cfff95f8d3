/* What the files of PEFT's format share. Not for others. */
#ifndef PEFTSCALE_PEFT_PRIVATE_H
#define PEFTSCALE_PEFT_PRIVATE_H

#include <cjson/cJSON.h>

#include "base/arena.h"
#include "model/model.h"
#include "store/safetensors.h"

#define PEFT_ROOT "base_model."        /* of what all maps share */
#define PEFT_MODEL "base_model.model." /* of the model's own names */
#define PEFT_CONFIG "adapter_config.json"
#define PEFT_TENSORS "adapter_model.safetensors"
#define PEFT_HEAD "head.safetensors"

enum { PEFT_KEY_BYTES = 256, PEFT_MODULES = 6 };

/* The linear maps that have a name outside, in the order q, k, v, o, up, down. */
extern const char *const peft_modules[PEFT_MODULES];

/* Pattern of a map's name ("encoder.layer.%d.attention.self.query"). */
const char *peft_pattern(const family *f, int module);

/* The name itself. */
int peft_map_name(const family *f, const site *s, char name[PEFT_KEY_BYTES]);

/* Calls act for every adapted map, in the method's order (the groups'). */
int peft_each_map(const model *m, int (*act)(void *context, const site *s), void *context);

/* The method's rank, also where it was left `auto`. */
int64_t peft_rank(const adapter *a);

/* The adapter's segment SITE.SUFFIX (site NULL: SUFFIX itself); NULL: there is none. */
const segment *peft_segment(const model *m, const site *s, const char *suffix);

/* ---- writing: what differs by method (peft_write.c) ---- */

typedef struct peft_writing {
  arena *memory;
  const model *m;
  const adapter *a;
  const real *theta;  /* of the whole model */
  const char *prefix; /* behind PEFT_MODEL: "", or "roberta." inside a classifier */
  int only_top_k;
  safetensors_output *tensors;
  int count, room;
  int64_t index_at;     /* Uni-LoRA: first factor number of the next map */
  const int32_t *index; /* its index of all factor numbers, */
  float *scale;         /* and 1 / sqrt(how often each is used) */
  char path[5];         /* GLoRA: first letters of the supports of the first map; "" before it */
} peft_writing;

/* Appends a tensor named PREFIX MAP.SUFFIX (s NULL: SUFFIX as it is). values are kept, not copied. */
int peft_put(peft_writing *w, const site *s, const char *suffix, safetensors_type type, const void *values, int dims, int64_t d0, int64_t d1, int64_t d2);

typedef struct peft_writer {
  const char *method, *type;                     /* ours, and PEFT's word */
  int (*shared)(peft_writing *w, cJSON *config); /* its settings and the tensors that all maps share */
  int (*map)(void *w, const site *s);            /* the tensors of one map                           */
} peft_writer;
extern const peft_writer peft_writers[]; /* method NULL at the end */

/* ---- reading: what differs by method (peft_read.c) ---- */

typedef struct peft_reading {
  arena *memory;
  char config_path[4200], tensor_path[4200], head_path[4200];
  cJSON *config;
  safetensors *tensors;
  uint8_t *used;      /* [tensors] */
  const char *prefix; /* behind PEFT_MODEL, as the file has it */
  model_shape shape;
  int has_module[PEFT_MODULES];
  const char *words[32]; /* key=value of the configuration that fits */
  int word_count;
  /* once the model is made */
  model *m;
  adapter *a;
  real *theta;
  int64_t index_at;
  int is_result; /* cannot be trained on */
} peft_reading;

/* Settings of adapter_config.json. Errors: ERROR_INPUT naming file and key. */
int peft_setting_int(const peft_reading *r, const char *key, int64_t low, int64_t high, int64_t *value);
int peft_setting_true(const peft_reading *r, const char *key, const char *hint); /* must be true, or the hint is given */
int peft_setting_is_true(const peft_reading *r, const char *key);

int peft_word(peft_reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A tensor that must be there in this shape, marked as used. s NULL: SUFFIX as it is. */
int peft_take(peft_reading *r, const site *s, const char *suffix, int dims, int64_t d0, int64_t d1, int64_t d2, int *index);

typedef struct peft_reader {
  const char *type, *method;
  int (*settings)(peft_reading *r);   /* words of the configuration */
  int (*shared)(peft_reading *r);     /* fills what all maps share  */
  int (*map)(void *r, const site *s); /* fills one map's part       */
  int (*finish)(peft_reading *r);     /* NULL: nothing              */
} peft_reader;
extern const peft_reader peft_readers[]; /* type NULL at the end */

#endif
