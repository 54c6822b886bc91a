/* version.h - which program this is. */
#ifndef RLAIFV_ENGINE_VERSION_H
#define RLAIFV_ENGINE_VERSION_H

/* The commit it was built from as `git describe --tags --always --dirty` has it, or "unknown" where the sources were no clone. */
const char *program_version(void);

#endif
