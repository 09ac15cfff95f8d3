/* Joules that this machine has taken since a start, from counters that the system keeps anyway. Where there are none, or they may not be read (by most systems
 * only root may), the answer is that it is not known, never an estimate.
 *
 *   cray   /sys/cray/pm_counters/energy: the whole node, in J
 *   rapl   the processor's own counters below /sys/class/powercap, in uJ, of Intel's and AMD's processors alike: packages and, where it is counted apart from
 *          them, memory (zones "package-..." and "dram"). Their parts (core, uncore) and the platform (psys) are in them or hold them, and the same counters
 *          seen another way (intel-rapl-mmio) are not read.
 *
 * RAPL's counters start again from 0 after some 65 to 260 kJ, minutes under load: a thread of its own looks every few seconds. After a gap in which a counter
 * may have gone round more than once (the process was stopped), and where a counter disappears, the energy is not known any more.
 *
 * The machine's, not the process's: whoever else runs there is in it. Not collective; energy_read is thread-safe.
 */
#ifndef PEFTSCALE_ENERGY_H
#define PEFTSCALE_ENERGY_H

#include <stddef.h>

typedef struct energy energy;

/* Folders to look in, Cray's first; NULL: not there. By default those of the system; with PEFTSCALE_POWERCAP in the environment that one for `powercap`, alone,
 * and `named`: energy_source tells which folder it was. */
typedef struct energy_places {
  const char *powercap, *cray;
  int named;
} energy_places;
energy_places energy_places_default(void);

/* Starts counting from 0. NULL where not all counters that belong together can be read. */
energy *energy_open(const energy_places *where);
void energy_close(energy *e); /* NULL is allowed */

/* Joules since energy_open; NaN: not known (`e` is NULL, or see above). */
double energy_read(energy *e);

/* What is counted: "rapl: 2 packages, 2 memories", "cray: node"; "none" for NULL. Owned by `e`. */
const char *energy_source(const energy *e);

#endif
