#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "base/error.h"
#include "comm/internal.h"

int comm_room_for(comm *c, size_t bytes) {
  int fits = 1;
  if (c->node_rank == 0) { /* it makes the window's file: when that fails, Open MPI leaves the other ranks waiting */
    double wanted = (double)bytes * 1.05 + 1e6;
    struct statvfs s;
    struct rlimit file_size;
    fits = statvfs("/dev/shm", &s) == 0 && (double)s.f_bavail * (double)s.f_frsize > wanted;
    fits = fits && getrlimit(RLIMIT_FSIZE, &file_size) == 0 && (file_size.rlim_cur == RLIM_INFINITY || (double)file_size.rlim_cur > wanted);
  }
  MPI_Bcast(&fits, 1, MPI_INT, 0, c->node);
  return fits;
}

static int share_window(comm *c, size_t bytes, share *s) {
  MPI_Aint size;
  int unit;
  void *mine;
  TRY(comm_check(MPI_Win_allocate_shared(c->node_rank == 0 ? (MPI_Aint)bytes : 0, 1, MPI_INFO_NULL, c->node, &mine, &s->window), "MPI_Win_allocate_shared"));
  int code = comm_check(MPI_Win_shared_query(s->window, 0, &size, &unit, &s->memory), "MPI_Win_shared_query");
  if (code) MPI_Win_free(&s->window);
  return code;
}

static int share_privately(size_t bytes, share *s) {
  bytes = (bytes / 64 + 1) * 64;
  s->window = MPI_WIN_NULL;
  s->memory = aligned_alloc(64, bytes);
  if (!s->memory) return FAIL(ERROR_MEMORY, "use fewer ranks per node", "out of memory: %zu bytes wanted", bytes);
  memset(s->memory, 0, bytes);
  return ERROR_NONE;
}

int comm_share(comm *c, size_t bytes, void **memory, int *filler, int *copies) {
  if (c->share_count == MAX_SHARES) return FAIL(ERROR_INTERNAL, NULL, "more than %d shared memories", MAX_SHARES);
  share *s = &c->shares[c->share_count];
  int is_window = c->node_size > 1 && comm_room_for(c, bytes);
  TRY(is_window ? share_window(c, bytes, s) : share_privately(bytes, s));
  c->share_count++;
  *memory = s->memory;
  *filler = !is_window || c->node_rank == 0;
  *copies = is_window ? 1 : c->node_size;
  return ERROR_NONE;
}

void comm_unshare(comm *c, void *memory) {
  int i = 0;
  if (!memory) return;
  while (i < c->share_count && c->shares[i].memory != memory) i++;
  if (i == c->share_count) return;
  if (c->shares[i].window == MPI_WIN_NULL) free(memory);
  else MPI_Win_free(&c->shares[i].window);
  c->shares[i] = c->shares[--c->share_count];
}

int comm_share_wait(comm *c) {
  /* Stores of the filler become visible: memory barriers on both sides of a barrier (MPI-3.1, 11.5.4); a passive epoch makes MPI_Win_sync legal. */
  for (int i = 0; i < c->share_count; i++) {
    if (c->shares[i].window == MPI_WIN_NULL) continue;
    MPI_Win_lock_all(MPI_MODE_NOCHECK, c->shares[i].window);
    MPI_Win_sync(c->shares[i].window);
  }
  int code = comm_check(MPI_Barrier(c->node), "MPI_Barrier");
  for (int i = 0; i < c->share_count; i++) {
    if (c->shares[i].window == MPI_WIN_NULL) continue;
    MPI_Win_sync(c->shares[i].window);
    MPI_Win_unlock_all(c->shares[i].window);
  }
  return code;
}
