/* Time. Not collective, thread-safe. */
#ifndef PEFTSCALE_CLOCK_H
#define PEFTSCALE_CLOCK_H

#include <stddef.h>

/* Monotonic wall time, and CPU time of the calling thread and of the whole process, in seconds. */
double clock_wall_s(void);
double clock_thread_cpu_s(void);
double clock_process_cpu_s(void);

/* Seconds since this process was started by the system (for start-up times). */
double clock_since_start_s(void);

/* Now as UTC, ISO 8601 ("2026-05-04T03:02:01Z"). `text` holds at least 21 bytes. */
void clock_utc(char *text, size_t bytes);

#endif
