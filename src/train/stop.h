/* Being asked to stop: SIGUSR1 (what batch systems send ahead of a time limit), SIGTERM or SIGINT set a flag, which a training looks at once in a step.
 *
 * A second SIGTERM or SIGINT ends the process as if nobody listened; one that comes within a second of the first is the same request, which launchers and batch
 * systems are apt to deliver twice. Not collective: each process has its own flag, and ranks agree on what follows from it (step.c). One listener at a time.
 */
#ifndef PEFTSCALE_STOP_H
#define PEFTSCALE_STOP_H

/* Takes the three signals, with no request so far; a SIGINT that is being ignored stays ignored (jobs in the background of a script). Errors: ERROR_SYSTEM. */
int stop_listen(void);

/* Gives the signals back to what had them before. */
void stop_end(void);

/* The signal that asked, 0: none did. Thread-safe. */
int stop_requested(void);

/* "SIGUSR1" ... */
const char *stop_signal_name(int number);

#endif
