/* What the system does to this process: where it may run, and when it was kept from running. Not collective, thread-safe. */
#ifndef PEFTSCALE_MACHINE_H
#define PEFTSCALE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* The cores this process is bound to, "0-3,8"; "unknown" where the system does not say. All of text is set. Returns how many there are (0: unknown). */
int machine_name_cores(char *text, size_t bytes);

/* The most memory of machines that this process held at one time, what it shares with others included, since machine_forget_peak; since its start where that
 * was not called or is not allowed. -1: the system does not say. */
int64_t machine_peak_bytes(void);

/* From here on the peak is a new one, of at least what the process holds now. Nothing happens where the system does not allow it. */
void machine_forget_peak(void);

/* Since the process's start, over all its threads: seconds in which a thread could have run and found no free core (NaN: the system does not count), and how
 * often a core was taken away. */
double machine_delay_s(void);
int64_t machine_involuntary_switches(void);

/* Whether no other thread of this process runs, or could run if it had a core; 1 where the system does not say. */
int machine_threads_rest(void);

/* The machine's load over the last minute; NaN where it is not known. */
double machine_load(void);

#endif
