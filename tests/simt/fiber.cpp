/* fiber.cpp - see fiber.h. A switch stores the registers that a call must keep and the stack pointer, and takes the other fiber's. */
#include "tests/simt/fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
enum { STACK = 256 << 10 };
#else
enum { STACK = 64 << 10 };
#endif
enum { PAGE = 4096 };

extern "C" void simt_switch_stacks(void **save, void *to);
__asm__(".text\n"
        ".globl simt_switch_stacks\n"
        ".type simt_switch_stacks, @function\n"
        "simt_switch_stacks:\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size simt_switch_stacks, .-simt_switch_stacks\n"
        ".section .note.GNU-stack,\"\",@progbits\n"
        ".text\n");

void fibers_make(Fiber *fibers) {
    /* Addresses are reserved; pages come with their first use. Stacks of neighbours start at different cache sets. */
    char *at = (char *)mmap(NULL, (size_t)FIBERS_MOST * (STACK + PAGE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) perror("simt: no room for stacks"), abort();
    for (int i = 0; i < FIBERS_MOST; i++, at += STACK + PAGE) {
        if (mprotect(at + PAGE, STACK, PROT_READ | PROT_WRITE)) perror("simt: stack"), abort();
        fibers[i] = Fiber{ NULL, { at + PAGE, STACK - (size_t)(i % 64) * 64 }, NULL };
    }
}

void fibers_free(Fiber *fibers) { munmap(fibers[0].stack.low - PAGE, (size_t)FIBERS_MOST * (STACK + PAGE)); }

void fiber_start(Fiber *f, void (*entry)(void)) {
    void **sp = (void **)((uintptr_t)(f->stack.low + f->stack.bytes) & ~(uintptr_t)15);
    *--sp = NULL; /* entry's own return address: none; its stack is then aligned as after a call */
    *--sp = (void *)entry;
    for (int i = 0; i < 6; i++) *--sp = NULL;
    f->sp = sp;
    f->fake = NULL;
}

void fiber_switch(Fiber *from, Fiber *to, int last) {
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->stack.low, to->stack.bytes);
    simt_switch_stacks(&from->sp, to->sp);
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#else
    (void)last;
    simt_switch_stacks(&from->sp, to->sp);
#endif
}

void fiber_entered(void) {
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}
