/* What the collectives put on a wire, by the algorithms that Open MPI 4.1 chooses: bytes that the ranks send in the mean. */
#include "comm/comm.h"

/* Below so many bytes all-reduces go by recursive doubling (or, with 3 ranks, by a ring, whose mean is the same), from there on by Rabenseifner's halving and
 * doubling. From 128 ranks on small ones are a reduction and a broadcast along trees, whose mean is that of the second kind. */
static double small_below(int ranks) { return ranks < 4 ? 262144 : ranks < 16 ? 8192 : ranks < 32 ? 4096 : ranks < 64 ? 128 : ranks < 128 ? 262144 : 0; }

double comm_sum_bytes(int ranks, double bytes) {
  if (bytes > COMM_BUCKET_BYTES) return 2.0 * (ranks - 1) / ranks * bytes; /* our own ring */
  int power = 1, rounds = 0;
  for (; power * 2 <= ranks; power *= 2) rounds++;
  int extra = ranks - power; /* each hands its part to a partner before, and gets the result behind the rounds of the others */
  double total = bytes < small_below(ranks) ? (double)rounds * power + 2 * extra : 2.0 * (power - 1) + 2.5 * extra;
  return total / ranks * bytes;
}

double comm_all_gather_bytes(int ranks, double mean_bytes) { return (ranks - 1) * mean_bytes; }
