/* sites.h - which line of the sources an instruction of a kernel is, from the program's debug information (by addr2line). */
#ifndef RLAIFV_TESTS_SIMT_SITES_H
#define RLAIFV_TESTS_SIMT_SITES_H

#include "tests/simt/simt.h"

/* A number for a line that the runtime acts for (cp.async, ldmatrix), below every address of code. */
uintptr_t site_key(SimtSite site);
int site_is_key(uintptr_t key);
/* The line of a return address less one, or of a key. Where functions are inlined into each other it is the innermost one outside of the
 * wrappers of device.cuh, ptx.cuh and simt.h. File NULL when nothing is known. */
SimtSite site_of(uintptr_t key);
/* Looks up many at once; site_of then knows them. */
void sites_find(const uintptr_t *keys, size_t n);

#endif
