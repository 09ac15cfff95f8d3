/* How the processes of a job are bound to cores, from the cores that each may use. Not collective, thread-safe. */
#ifndef PEFTSCALE_BINDING_H
#define PEFTSCALE_BINDING_H

#include <stdint.h>

enum { BINDING_CPUS = 1024, BINDING_HOST = 64 };

typedef struct core_set {
  uint64_t word[BINDING_CPUS / 64];
} core_set;

/* What one rank may use. Without pointers: it travels. */
typedef struct binding_place {
  int32_t rank, node, threads;
  int32_t is_known;   /* 0: the system does not say, or has more than BINDING_CPUS hardware threads */
  int32_t node_cores; /* physical cores that the machine has */
  int32_t unused;     /* leaves no gap */
  core_set cpus;      /* hardware threads it may run on, as the system numbers them                */
  core_set cores;     /* physical cores, each by the lowest number among its own hardware threads  */
  char host[BINDING_HOST];
} binding_place;

/* Fills in what this process knows of itself: all but rank, node, threads and host. Where OpenMP binds threads to places, what all of its places hold is
 * meant. root: NULL, or a folder in the place of /sys/devices/system/cpu. */
void binding_read(const char *root, binding_place *place);

/* From good to bad. A node's ranks are
 *   bound           each to cores of its own, or in groups (such as one for each socket) with cores of their own; one rank: to a part of the node
 *   unbound         all to the same cores, of which there are enough
 *   shared          partly to the same cores; or to different hardware threads of one core
 *   oversubscribed  to fewer cores than they have threads together
 * Unknown, of one rank, stands in the middle: it does not hide what is bad elsewhere. */
typedef enum binding_kind { BINDING_BOUND, BINDING_UNBOUND, BINDING_UNKNOWN, BINDING_SHARED, BINDING_OVERSUBSCRIBED, BINDING_KINDS } binding_kind;
extern const char *const binding_names[BINDING_KINDS];

/* What is wrong, each with the first example of it. */
typedef enum binding_fault_kind {
  BINDING_FEW,      /* a rank has more threads than cores                      */
  BINDING_CROWDED,  /* ranks that share cores have more threads than these are */
  BINDING_OVERLAP,  /* two ranks' cores are partly the same                    */
  BINDING_SIBLINGS, /* two ranks have different hardware threads of one core   */
  BINDING_FAULTS
} binding_fault_kind;

typedef struct binding_fault {
  int count;                           /* ranks (few) or nodes that have it; 0: none             */
  const binding_place *first, *second; /* second: NULL but for overlap and siblings              */
  int ranks, threads, cores;           /* few, crowded: of the example, threads of all its ranks */
  int node_threads;                    /* likewise: of all ranks of its node                     */
} binding_fault;

typedef struct binding_verdict {
  binding_kind kind; /* of the worst node */
  binding_fault faults[BINDING_FAULTS];
} binding_verdict;

/* Judges all ranks of a job, nodes by themselves. `places` is put into another order, to which the verdict then points. count > 0. */
void binding_judge(binding_place *places, int count, binding_verdict *verdict);

#endif
