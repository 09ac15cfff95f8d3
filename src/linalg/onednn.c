/* oneDNN's matrix products with weights in its own layout (versions 2 and 3 of its interface).
 *
 * A kernel is made for a fixed number of rows, so n rows are cut into blocks of 192, 64, 16 and 4: measured on AVX-512, blocks of 64 rows run at 97 % of the
 * peak and blocks of 4 rows still at 80 %; 192, which stream the weights a third as often, gain 1 % of a step in bfloat16. Making a kernel takes 0.2 ms. The
 * last block may hold up to 3 rows of no meaning. All products of a row run over its inner dimension in the same order, whatever the block.
 *
 * Made for calls from several threads at once: kernels are not changed by running, and what changes (arguments, scratch memory) belongs to a thread.
 */
#include "linalg/map_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#if defined(PEFTSCALE_ONEDNN) && !defined(PEFTSCALE_DOUBLE)

#include <oneapi/dnnl/dnnl.h>

enum { BLOCKS = 4, SLOTS = 5 };
static const int block_rows[BLOCKS] = {192, 64, 16, LINALG_ROW_BLOCK};

/* The order of a thread's memory objects. */
enum { SLOT_X, SLOT_W, SLOT_Y, SLOT_SCRATCH, SLOT_BIAS };
static const int slot_names[SLOTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_BIAS};

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc; /* an object with an owner */
typedef const_dnnl_memory_desc_t desc_view;
static void desc_destroy(desc *d) { dnnl_memory_desc_destroy(*d); }
static int desc_make(desc *d, dnnl_dim_t rows, dnnl_dim_t cols, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  return dnnl_memory_desc_create_with_tag(d, 2, (const dnnl_dims_t){rows, cols}, type, tag);
}
static desc_view view_of(const desc *d) { return *d; }
static size_t desc_bytes(desc_view d) { return dnnl_memory_desc_get_size(d); }
static int describe_matmul(dnnl_primitive_desc_t *result, dnnl_engine_t engine, desc_view x, desc_view w, desc_view bias, desc_view y,
                           dnnl_primitive_attr_t attributes) {
  return dnnl_matmul_primitive_desc_create(result, engine, x, w, bias, y, attributes);
}
static int append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef); }
#else
typedef dnnl_memory_desc_t desc; /* a plain structure */
typedef const dnnl_memory_desc_t *desc_view;
static void desc_destroy(desc *d) { (void)d; }
static int desc_make(desc *d, dnnl_dim_t rows, dnnl_dim_t cols, dnnl_data_type_t type, dnnl_format_tag_t tag) {
  return dnnl_memory_desc_init_by_tag(d, 2, (const dnnl_dims_t){rows, cols}, type, tag);
}
static desc_view view_of(const desc *d) { return d; }
static size_t desc_bytes(desc_view d) { return dnnl_memory_desc_get_size(d); }
static int describe_matmul(dnnl_primitive_desc_t *result, dnnl_engine_t engine, desc_view x, desc_view w, desc_view bias, desc_view y,
                           dnnl_primitive_attr_t attributes) {
  dnnl_matmul_desc_t wanted;
  dnnl_status_t status = dnnl_matmul_desc_init(&wanted, x, w, bias, y);
  return status ? (int)status : (int)dnnl_primitive_desc_create(result, &wanted, attributes, engine, NULL);
}
static int append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1); }
#endif

typedef struct kernel {
  dnnl_primitive_desc_t described;
  dnnl_primitive_t primitive;
} kernel;

struct onednn_kernels {
  int out, in;
  size_t operand_bytes; /* of a number of x */
  dnnl_engine_t engine;
  kernel kernels[MAP_PRODUCTS][BLOCKS];
};

struct onednn_arguments {
  dnnl_stream_t stream;
  dnnl_memory_t memory[MAP_PRODUCTS][BLOCKS][SLOTS];
  void *scratch;
  size_t scratch_bytes;
};

static int is_backward(int product) { return product >= MAP_BACKWARD; }

static int refuse(int status, const char *what) {
  return status ? FAIL(ERROR_SYSTEM, "linalg=openblas does without it", "oneDNN cannot %s (status %d)", what, status) : ERROR_NONE;
}

/* "avx512_core_bf16", as oneDNN spells its own choice of kernels. */
static const char *isa_name(void) {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: return "another instruction set";
  }
}

const char *onednn_version(void) {
  static char text[96]; /* the same whenever it is written */
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d %s", v->major, v->minor, v->patch, isa_name());
  return text;
}

static int has_avx512(void) {
  unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
  return (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

static int has_bf16(void) {
  unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
  return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

int onednn_check(linalg_precision precision) {
  if (precision == LINALG_BF16 && !has_bf16())
    return FAIL(ERROR_USAGE, "use precision=f32", "this processor has no AVX-512 instructions for bfloat16 (oneDNN uses %s)", isa_name());
  /* Below AVX-512 oneDNN multiplies without weights in its own layout, which gains nothing. */
  return has_avx512() ? ERROR_NONE
                      : FAIL(ERROR_USAGE, "use linalg=openblas", "oneDNN has kernels for laid-out weights with AVX-512 only, here is %s", isa_name());
}

/* ---- kernels ---- */

static int describe(const onednn_kernels *k, map_product product, int rows, dnnl_data_type_t type, desc_view laid_out, dnnl_primitive_desc_t *result) {
  int from = is_backward(product) ? k->out : k->in, to = is_backward(product) ? k->in : k->out;
  dnnl_primitive_attr_t attributes;
  dnnl_post_ops_t ops;
  desc x, w, bias, y;
  TRY(refuse(dnnl_primitive_attr_create(&attributes), "take attributes"));
  int status = dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
  if (!status && product == MAP_BACKWARD_ADD) {
    status = dnnl_post_ops_create(&ops);
    if (!status) status = append_sum(ops);
    if (!status) status = dnnl_primitive_attr_set_post_ops(attributes, ops);
    dnnl_post_ops_destroy(ops);
  }
  if (!status) status = desc_make(&x, rows, from, type, dnnl_ab);
  if (!status) status = desc_make(&w, from, to, type, dnnl_format_tag_any);
  if (!status) status = desc_make(&bias, 1, to, dnnl_f32, dnnl_ab);
  if (!status) status = desc_make(&y, rows, to, dnnl_f32, dnnl_ab);
  if (!status) {
    status = describe_matmul(result, k->engine, view_of(&x), laid_out ? laid_out : view_of(&w), product == MAP_FORWARD_BIAS ? view_of(&bias) : NULL,
                             view_of(&y), attributes);
    desc_destroy(&x);
    desc_destroy(&w);
    desc_destroy(&bias);
    desc_destroy(&y);
  }
  dnnl_primitive_attr_destroy(attributes);
  return refuse(status, "describe a product");
}

static desc_view query(const kernel *k, dnnl_query_t what) { return dnnl_primitive_desc_query_md(k->described, what, 0); }

/* One layout of the weights for all numbers of rows: that which the largest block wants. */
static int make_kernels(onednn_kernels *k, dnnl_data_type_t type) {
  for (int product = 0; product < MAP_PRODUCTS; product++)
    for (int block = 0; block < BLOCKS; block++) {
      kernel *made = &k->kernels[product][block];
      const kernel *first = &k->kernels[is_backward(product) ? MAP_BACKWARD : MAP_FORWARD][0];
      TRY(describe(k, (map_product)product, block_rows[block], type, first->described ? query(first, dnnl_query_weights_md) : NULL, &made->described));
      TRY(refuse(dnnl_primitive_create(&made->primitive, made->described), "make a kernel"));
    }
  return ERROR_NONE;
}

int onednn_kernels_create(linalg_precision precision, int out, int in, onednn_kernels **result) {
  onednn_kernels *k = *result = calloc(1, sizeof *k);
  if (!k) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  k->out = out;
  k->in = in;
  k->operand_bytes = precision == LINALG_BF16 ? sizeof(uint16_t) : sizeof(float);
  int code = refuse(dnnl_engine_create(&k->engine, dnnl_cpu, 0), "use this processor");
  if (!code) code = make_kernels(k, precision == LINALG_BF16 ? dnnl_bf16 : dnnl_f32);
  if (!code) return code;
  onednn_kernels_destroy(k);
  *result = NULL;
  return code;
}

void onednn_kernels_destroy(onednn_kernels *k) {
  if (!k) return;
  for (int product = 0; product < MAP_PRODUCTS; product++)
    for (int block = 0; block < BLOCKS; block++) {
      if (k->kernels[product][block].primitive) dnnl_primitive_destroy(k->kernels[product][block].primitive);
      if (k->kernels[product][block].described) dnnl_primitive_desc_destroy(k->kernels[product][block].described);
    }
  if (k->engine) dnnl_engine_destroy(k->engine);
  free(k);
}

/* ---- layouts ---- */

static desc_view layout_of(const onednn_kernels *k, int backward) {
  return query(&k->kernels[backward ? MAP_BACKWARD : MAP_FORWARD][0], dnnl_query_weights_md);
}

int64_t onednn_layout_bytes(const onednn_kernels *k, int backward) { return ((int64_t)desc_bytes(layout_of(k, backward)) + 63) / 64 * 64; }

static int reorder(const onednn_kernels *k, desc_view from, const void *source, desc_view to, void *target) {
  dnnl_primitive_desc_t described = NULL;
  dnnl_primitive_t primitive = NULL;
  dnnl_stream_t stream = NULL;
  dnnl_memory_t a = NULL, b = NULL;
  int status = dnnl_reorder_primitive_desc_create(&described, from, k->engine, to, k->engine, NULL);
  if (!status) status = dnnl_primitive_create(&primitive, described);
  if (!status) status = dnnl_stream_create(&stream, k->engine, dnnl_stream_default_flags);
  if (!status) status = dnnl_memory_create(&a, from, k->engine, (void *)(uintptr_t)source);
  if (!status) status = dnnl_memory_create(&b, to, k->engine, target);
  if (!status) status = dnnl_primitive_execute(primitive, stream, 2, (const dnnl_exec_arg_t[]){{DNNL_ARG_FROM, a}, {DNNL_ARG_TO, b}});
  if (!status) status = dnnl_stream_wait(stream);
  if (a) dnnl_memory_destroy(a);
  if (b) dnnl_memory_destroy(b);
  if (stream) dnnl_stream_destroy(stream);
  if (primitive) dnnl_primitive_destroy(primitive);
  if (described) dnnl_primitive_desc_destroy(described);
  return refuse(status, "lay out weights");
}

/* As the right-hand matrix of a product W is [in][out] forward, which is W [out][in] with its axes swapped, and [out][in] backward. */
int onednn_lay_out(const onednn_kernels *k, int backward, const real *w, void *target) {
  desc plain;
  TRY(refuse(desc_make(&plain, backward ? k->out : k->in, backward ? k->in : k->out, dnnl_f32, backward ? dnnl_ab : dnnl_ba), "describe weights"));
  int code = reorder(k, view_of(&plain), w, layout_of(k, backward), target);
  desc_destroy(&plain);
  return code;
}

/* ---- a thread's part ---- */

int onednn_arguments_create(const onednn_kernels *k, onednn_arguments **result) {
  static const dnnl_query_t queries[SLOTS] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md, dnnl_query_scratchpad_md};
  onednn_arguments *a = *result = calloc(1, sizeof *a);
  if (!a) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  int status = dnnl_stream_create(&a->stream, k->engine, dnnl_stream_default_flags);
  for (int product = 0; product < MAP_PRODUCTS; product++)
    for (int block = 0; block < BLOCKS; block++) {
      const kernel *from = &k->kernels[product][block];
      size_t scratch = desc_bytes(query(from, dnnl_query_scratchpad_md));
      if (scratch > a->scratch_bytes) a->scratch_bytes = scratch;
      for (int slot = 0; slot < SLOTS && !status; slot++) {
        if (slot == SLOT_BIAS && product != MAP_FORWARD_BIAS) continue;
        desc_view d = slot == SLOT_BIAS ? dnnl_primitive_desc_query_md(from->described, dnnl_query_weights_md, 1) : query(from, queries[slot]);
        status = dnnl_memory_create(&a->memory[product][block][slot], d, k->engine, DNNL_MEMORY_NONE);
      }
    }
  int code = refuse(status, "make a thread's arguments");
  a->scratch_bytes = (a->scratch_bytes + 64) / 64 * 64;
  if (!code && !(a->scratch = aligned_alloc(64, a->scratch_bytes))) code = FAIL(ERROR_MEMORY, NULL, "out of memory: %zu bytes wanted", a->scratch_bytes);
  if (!code) return code;
  onednn_arguments_destroy(a);
  *result = NULL;
  return code;
}

void onednn_arguments_destroy(onednn_arguments *a) {
  if (!a) return;
  for (int product = 0; product < MAP_PRODUCTS; product++)
    for (int block = 0; block < BLOCKS; block++)
      for (int slot = 0; slot < SLOTS; slot++)
        if (a->memory[product][block][slot]) dnnl_memory_destroy(a->memory[product][block][slot]);
  if (a->stream) dnnl_stream_destroy(a->stream);
  free(a->scratch);
  free(a);
}

int64_t onednn_arguments_bytes(const onednn_arguments *a) { return (int64_t)(sizeof *a + a->scratch_bytes); }

static int run_block(const onednn_kernels *k, onednn_arguments *a, map_product product, int block, void *const handles[SLOTS]) {
  dnnl_exec_arg_t arguments[SLOTS];
  int count = product == MAP_FORWARD_BIAS ? SLOTS : SLOT_BIAS;
  for (int slot = 0; slot < count; slot++) {
    dnnl_memory_t memory = a->memory[product][block][slot];
    dnnl_status_t status = dnnl_memory_set_data_handle(memory, handles[slot]);
    if (status) return refuse((int)status, "take an argument");
    arguments[slot] = (dnnl_exec_arg_t){slot_names[slot], memory};
  }
  return refuse(dnnl_primitive_execute(k->kernels[product][block].primitive, a->stream, count, arguments), "multiply");
}

int onednn_run(const onednn_kernels *k, onednn_arguments *a, map_product product, const void *w, const real *bias, int n, const void *x, real *y) {
  int64_t from = is_backward(product) ? k->out : k->in, to = is_backward(product) ? k->in : k->out;
  for (int block = 0, row = 0; row < n;) {
    while (block < BLOCKS - 1 && n - row < block_rows[block]) block++;
    void *handles[SLOTS] = {[SLOT_X] = (char *)(uintptr_t)x + (size_t)(row * from) * k->operand_bytes,
                            [SLOT_W] = (void *)(uintptr_t)w,
                            [SLOT_Y] = y + row * to,
                            [SLOT_SCRATCH] = a->scratch,
                            [SLOT_BIAS] = (void *)(uintptr_t)bias};
    TRY(run_block(k, a, product, block, handles));
    row += block_rows[block];
  }
  return ERROR_NONE;
}

#endif
