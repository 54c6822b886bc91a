/* isa.h - the CPU backend is compiled once per instruction set (generic, avx2, avx512, avx512bf16); this header gives each copy its names.
 *
 * Every function a file of kernels/cpu/ shares with another is declared through ISA_FN(name), which appends the set's name; everything else is
 * static. kernels/cpu/table.c of each copy exports `const Kernels kernels_cpu_<isa>`; kernels/open.c chooses. */
#ifndef RLAIFV_KERNELS_CPU_ISA_H
#define RLAIFV_KERNELS_CPU_ISA_H

#define ISA_PASTE2(a, b) a##_##b
#define ISA_PASTE(a, b) ISA_PASTE2(a, b)
#define ISA_FN(name) ISA_PASTE(name, ISA)
#define ISA_STRING2(a) #a
#define ISA_STRING1(a) ISA_STRING2(a)
#define ISA_STRING ISA_STRING1(ISA)

#endif
