/* fiber.h - stacks that are switched by hand: one per CUDA thread of a block. x86-64, System V calling convention. */
#ifndef RLAIFV_TESTS_SIMT_FIBER_H
#define RLAIFV_TESTS_SIMT_FIBER_H

#include <stddef.h>

enum { FIBERS_MOST = 1024 }; /* threads of a block */

struct FiberStack {
    char *low; /* lowest usable byte; a guard page lies below */
    size_t bytes;
};
struct Fiber {
    void *sp;
    FiberStack stack;
    void *fake; /* the address sanitizer's */
};
/* Stacks for FIBERS_MOST fibers, each with its guard page. */
void fibers_make(Fiber *fibers);
void fibers_free(Fiber *fibers);
/* The next switch to `f` calls entry(), which must not return. */
void fiber_start(Fiber *f, void (*entry)(void));
/* Leaves `from` and goes on in `to`. `last` is 1 when `from` will never be entered again. */
void fiber_switch(Fiber *from, Fiber *to, int last);
/* First thing in a fiber that was started. */
void fiber_entered(void);

#endif
