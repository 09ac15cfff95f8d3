/* Bytes that this process, or its machine, really hands to a network.
 *
 * TCP: the sums over the process's own data sockets of what the kernel took from it (TCP_INFO: bytes sent, less those sent again, plus those still queued), so
 * that a byte counts once and as soon as it was written. MPI's headers are in it; those of TCP, IP and Ethernet are not. Sockets that were there before MPI and
 * those to the launcher's daemon do not count; one that was closed keeps its last figure.
 *
 * InfiniBand: what the machine's ports sent (port_xmit_data), all processes together: only of use where nobody else is on the machine.
 *
 * Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_WIRE_H
#define PEFTSCALE_WIRE_H

#include <stdint.h>

typedef struct wire wire;

/* Before MPI starts: remembers the sockets there are. Errors: ERROR_MEMORY. */
int wire_create(wire **result);
void wire_destroy(wire *w); /* NULL is allowed */

/* Looks for sockets that came since; what they have sent counts from now on. Returns how many count. */
int wire_scan(wire *w);

/* Bytes since the start over the sockets found. */
int64_t wire_tcp_bytes(wire *w);

/* Sum over the ports below `root` (NULL: where the system has them) of bytes sent since the driver started; -1 where there is no port, or none can be read. */
int64_t wire_infiniband_bytes(const char *root);

/* Whether all of this machine's cores belong to this job: the scheduler says so (SLURM_JOB_CPUS_PER_NODE), or the user (PEFTSCALE_EXCLUSIVE_NODE=1). */
int wire_machine_is_ours(void);

#endif
