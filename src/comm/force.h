/* Forcing Open MPI to one algorithm for MPI_Allreduce, through its tool interface (MPI_T). The library reads the choice when a communicator is made: set, make
 * the communicator, restore. Other MPI libraries are refused.
 *
 * Not collective, but all ranks must set the same. Not thread-safe.
 */
#ifndef PEFTSCALE_FORCE_H
#define PEFTSCALE_FORCE_H

/* The library's own numbers of its algorithms; FORCE_NOTHING: its own choice. */
typedef enum force_choice { FORCE_NOTHING = 0, FORCE_DOUBLING = 3, FORCE_RING = 4, FORCE_SEGMENTED_RING = 5, FORCE_RABENSEIFNER = 6 } force_choice;

/* Whether this MPI library is one whose algorithms can be forced at all: Open MPI. */
int force_exists(void);

/* Before MPI starts: lets choices take effect, unless the user's environment says otherwise. Without a choice the library goes on choosing as it always does.
 */
void force_allow(void);

/* After MPI has started: whether a choice would take effect. Opens the tool interface; force_close closes it. Errors: ERROR_USAGE saying what is missing. */
int force_open(void);
void force_close(void);

/* Between open and close. What was set before (by the user, say) is kept for force_restore. Errors: ERROR_SYSTEM. */
int force_set(force_choice choice);
int force_restore(void);

#endif
