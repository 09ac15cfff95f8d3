#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/error.h"
#include "comm/internal.h"

/* Whether the node's shared memory can hold so many bytes more; asked by one rank, told to the others. */
static int room_for(comm *c, size_t bytes) {
  int fits = 1;
  if (c->node_rank == 0) {
    struct statvfs s;
    fits = statvfs("/dev/shm", &s) == 0 && (double)s.f_bavail * (double)s.f_frsize > (double)bytes * 1.05 + 1e6;
  }
  MPI_Bcast(&fits, 1, MPI_INT, 0, c->node);
  return fits;
}

int comm_share(comm *c, size_t bytes, void **memory, int *filler, int *copies) {
  *copies = 1;
  *filler = c->node_rank == 0;
  if (c->node_size > 1 && c->window_count < MAX_WINDOWS && room_for(c, bytes)) {
    MPI_Win window;
    MPI_Aint size;
    int unit;
    void *mine;
    TRY(comm_check(MPI_Win_allocate_shared(c->node_rank == 0 ? (MPI_Aint)bytes : 0, 1, MPI_INFO_NULL, c->node, &mine, &window), "MPI_Win_allocate_shared"));
    c->windows[c->window_count++] = window;
    return comm_check(MPI_Win_shared_query(window, 0, &size, &unit, memory), "MPI_Win_shared_query");
  }
  if (c->private_count == MAX_WINDOWS) return FAIL(ERROR_INTERNAL, NULL, "too many shared memories");
  if (bytes % 64) bytes += 64 - bytes % 64;
  *memory = aligned_alloc(64, bytes ? bytes : 64);
  if (!*memory) return FAIL(ERROR_MEMORY, "use fewer ranks per node", "out of memory: %zu bytes wanted", bytes);
  memset(*memory, 0, bytes);
  c->private_memory[c->private_count++] = *memory;
  *filler = 1;
  *copies = c->node_size;
  return ERROR_NONE;
}

int comm_share_wait(comm *c) {
  /* Stores of the filler become visible: memory barriers on both sides of a barrier (MPI-3.1, 11.5.4); a passive epoch makes MPI_Win_sync legal. */
  for (int i = 0; i < c->window_count; i++) {
    MPI_Win_lock_all(MPI_MODE_NOCHECK, c->windows[i]);
    MPI_Win_sync(c->windows[i]);
  }
  int code = comm_check(MPI_Barrier(c->node), "MPI_Barrier");
  for (int i = 0; i < c->window_count; i++) {
    MPI_Win_sync(c->windows[i]);
    MPI_Win_unlock_all(c->windows[i]);
  }
  return code;
}
