# cuda.mk - builds the CUDA backend twice: by nvcc for GPUs, into the program; by g++ on the emulated runtime of tests/simt, for tests.
# Included by the Makefile. docs/cuda.md says how to run each check.
# Variables: NVCC (none: build without CUDA), CUDA_ARCHS, SIMT_CXX, SIMT_CHECKER_CXX.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc) none)
HAVE_NVCC := $(filter-out none,$(NVCC))
CUDA_HOME ?= $(if $(HAVE_NVCC),$(patsubst %/bin/,%,$(dir $(realpath $(shell command -v $(NVCC))))),/usr/local/cuda)
CUDA_HEADERS := $(wildcard $(CUDA_HOME)/include/cuda_runtime.h)
CUDA_ARCHS ?= 80 90a 100
CUDA_CU = $(wildcard kernels/cuda/*.cu)
CUDA_C = $(wildcard kernels/cuda/*.c)

# ---- for GPUs ----
# Binary code for each architecture, and PTX of the first for those that come later.
CUDA_GENCODE = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
    -gencode arch=compute_$(firstword $(CUDA_ARCHS)),code=compute_$(firstword $(CUDA_ARCHS))
CUDA_FLAGS = -std=c++17 -O3 -lineinfo -I. $(CUDA_GENCODE) -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror -Xptxas -v
CUDA_OBJECTS = $(patsubst %.cu,$(BUILD)/cuda/%.o,$(CUDA_CU)) $(patsubst %.c,$(BUILD)/cuda/%.o,$(CUDA_C) kernels/open.c)
CUDA_LIBS = -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcudart -lstdc++

# What ptxas said of registers stands beside the object, and the PTX, which says how many threads a block has.
$(BUILD)/cuda/%.o: %.cu
	@mkdir -p $(@:.o=.kept)
	$(NVCC) $(CUDA_FLAGS) -MD -MP -MF $(@:.o=.d) -MT $@ --keep --keep-dir $(@:.o=.kept) -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); rm -f $@; exit 1; }
	@mv $(@:.o=.kept)/*.compute_$(firstword $(CUDA_ARCHS)).ptx $(@:.o=.ptx) && rm -rf $(@:.o=.kept)
$(BUILD)/cuda/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DWITH_CUDA -isystem $(CUDA_HOME)/include -c -o $@ $<

REGISTERS = kernels/cuda/registers.txt
$(BUILD)/cuda/registers.txt: $(patsubst %.cu,$(BUILD)/cuda/%.o,$(CUDA_CU)) tests/tools/registers.sh
	sh tests/tools/registers.sh "$(NVCC)" $(patsubst %.cu,$(BUILD)/cuda/%.ptxas,$(CUDA_CU)) >$@.new
	mv $@.new $@
cuda: $(BUILD)/cuda/registers.txt $(CUDA_OBJECTS)
	sh tests/tools/registers.sh --compare $(REGISTERS) $<
cuda-table: $(BUILD)/cuda/registers.txt
	sh tests/tools/registers.sh --spills $<
	cp $< $(REGISTERS)

# ---- on a CPU: one set of objects for each variant ----
SIMT_CXX ?= g++
SIMT_LINK ?= -Wl,--unresolved-symbols=ignore-all
SIMT_CHECKER_CXX ?= clang++
SIMT_WARN = -Wall -Wextra -Werror -Wno-unknown-pragmas
SIMT_CXXFLAGS = -std=gnu++17 -g $(SIMT_WARN) -fno-strict-aliasing -ffp-contract=off -I. -isystem $(CUDA_HOME)/include -DWITH_SIMT -MMD -MP
SIMT_TESTS = $(filter-out tests/kernels/dispatch_test.c,$(wildcard tests/kernels/*_test.c tests/simt/*_test.c tests/simt/*_test.cpp))
SIMT_RUNTIME = $(filter-out %_test.cpp tests/simt/checker%.cpp,$(wildcard tests/simt/*.cpp))

# simt_variant NAME,KERNEL-COMPILER,KERNEL-FLAGS,HOST-FLAGS,SOURCES-OF-THE-CHECKER,LINK-FLAGS
define simt_variant
SIMT_OBJECTS_$(1) = $$(patsubst %.cu,$$(BUILD)/$(1)/%.o,$$(CUDA_CU)) $$(patsubst %.c,$$(BUILD)/$(1)/%.o,$$(CUDA_C) kernels/open.c) \
    $$(patsubst %.cpp,$$(BUILD)/$(1)/%.o,$$(SIMT_RUNTIME) $(5))
SIMT_BINS_$(1) = $$(patsubst %,$$(BUILD)/$(1)/%,$$(basename $$(SIMT_TESTS)))
$$(BUILD)/$(1)/%.o: %.cu
	@mkdir -p $$(@D)
	$(2) -x c++ $$(SIMT_CXXFLAGS) $(3) -c -o $$@ $$<
$$(BUILD)/$(1)/%_test.o: %_test.cpp
	@mkdir -p $$(@D)
	$(2) $$(SIMT_CXXFLAGS) $(3) -c -o $$@ $$<
$$(BUILD)/$(1)/%.o: %.cpp
	@mkdir -p $$(@D)
	$$(SIMT_CXX) $$(SIMT_CXXFLAGS) -fopenmp $(4) -c -o $$@ $$<
$$(BUILD)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $(4) -DWITH_SIMT -isystem $$(CUDA_HOME)/include -c -o $$@ $$<
$$(BUILD)/$(1)/tests/%_test: $$(BUILD)/$(1)/tests/%_test.o $$(SIMT_OBJECTS_$(1)) $$(below_kernels)
	$$(SIMT_CXX) -rdynamic -o $$@ $$^ $(6) $$(SIMT_LINK) $$(LDLIBS) -lcmocka
$(1)-tests: $$(SIMT_BINS_$(1))
.PRECIOUS: $$(BUILD)/$(1)/%.o
.PHONY: $(1)-tests
endef
SIMT_SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
$(eval $(call simt_variant,simt,$$(SIMT_CXX),-O2,-O2,tests/simt/checker_none.cpp,))
$(eval $(call simt_variant,simt-asan,$$(SIMT_CXX),-O1 $(SIMT_SANITIZE),-O1 $(SIMT_SANITIZE),tests/simt/checker_none.cpp,$(SIMT_SANITIZE)))
$(eval $(call simt_variant,simt-checker,$$(SIMT_CHECKER_CXX),-O1 -fsanitize=thread -mllvm -tsan-instrument-read-before-write -DWITH_CHECKER,-O2 -DWITH_CHECKER,tests/simt/checker.cpp,))
$(eval $(call simt_variant,simt-gcov,$$(SIMT_CXX),-O1 --coverage,-O1,tests/simt/checker_none.cpp,--coverage))

# The whole program on the emulated device.
simt: $(BUILD)/rlaifv-simt
$(BUILD)/rlaifv-simt: $(BUILD)/engine/main.o $(SIMT_OBJECTS_simt) $(LIBS)
	$(SIMT_CXX) -rdynamic -o $@ $^ $(SIMT_LINK) $(LDLIBS)
.PHONY: cuda cuda-table simt
