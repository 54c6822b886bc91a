# cuda.mk - builds the CUDA backend twice: by nvcc for GPUs, into the program; by g++ on the emulated runtime of tests/simt, for tests.
# Included by the Makefile. docs/cuda.md says how to run each check.
# Variables: NVCC (none: build without CUDA), NCCL (yes, or no: a CUDA program of one rank), CUDA_ARCHS, CUDNN (yes: with cuDNN as a peer in the
# benchmark), CUDNN_HOME, SIMT_CXX, SIMT_CHECKER_CXX.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc) none)
HAVE_NVCC := $(filter-out none,$(NVCC))
CUDA_HOME ?= $(if $(HAVE_NVCC),$(patsubst %/bin/,%,$(dir $(realpath $(shell command -v $(NVCC))))),/usr/local/cuda)
CUDA_HEADERS := $(dir $(wildcard $(CUDA_HOME)/include/cuda_runtime.h))
CUDA_INCLUDE = $(addprefix -isystem ,$(filter-out /usr/include/,$(sort $(CUDA_HEADERS) $(dir $(CUDNN_HEADER)))))
CUDA_ARCHS ?= 80 90a 100
CUDA_CU = $(wildcard kernels/cuda/*.cu)
# cuDNN is part of the program where it is asked for, and of the emulator's builds wherever its header is.
CUDNN ?= no
CUDNN_HOME ?= $(CUDA_HOME)
CUDNN_HEADER := $(firstword $(wildcard $(CUDNN_HOME)/include/cudnn.h /usr/include/cudnn.h))
CUDNN_AT := $(patsubst %/include/cudnn.h,%,$(CUDNN_HEADER))
CUDNN_C = $(wildcard kernels/cuda/cudnn*.c)
CUDNN_OBJECTS = $(patsubst %.c,$(BUILD)/cuda/%.o,$(CUDNN_C))
ifneq ($(CUDNN),no)
$(if $(filter yes,$(CUDNN)),,$(error CUDNN=$(CUDNN): yes or no))
$(if $(HAVE_NVCC),,$(error CUDNN=yes: cuDNN is a peer of the CUDA backend, and there is no nvcc to build that))
$(if $(CUDNN_HEADER),,$(error CUDNN=yes: there is no cudnn.h in $(CUDNN_HOME)/include or /usr/include; install cuDNN 9, or name its folder by CUDNN_HOME))
endif
NCCL_HEADER := $(firstword $(wildcard $(CUDA_HOME)/include/nccl.h /usr/include/nccl.h))
NCCL ?= $(if $(NCCL_HEADER),yes,no)
HAVE_NCCL := $(filter yes,$(NCCL))
NCCL_FLAGS = $(if $(HAVE_NCCL),-DWITH_NCCL)
CUDA_C = $(filter-out $(CUDNN_C) $(if $(HAVE_NCCL),,%/nccl.c),$(wildcard kernels/cuda/*.c))
SIMT_C = $(CUDA_C) $(if $(CUDNN_HEADER),$(CUDNN_C))
# stamp: a file that changes when what it says does.
stamp = @mkdir -p $(@D); echo "$(1)" | cmp -s - $@ || echo "$(1)" >$@

# All tests of operations but those of the CPU alone.
SIMT_KERNEL_TESTS = $(filter-out %/dispatch_test.c %/vmath_test.c,$(wildcard tests/kernels/*_test.c))

# ---- for GPUs ----
# Binary code for each architecture, and PTX of the first for those that come later.
CUDA_GENCODE = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
    -gencode arch=compute_$(firstword $(CUDA_ARCHS)),code=compute_$(firstword $(CUDA_ARCHS))
CUDA_FLAGS = -std=c++17 -O3 -lineinfo -I. $(CUDA_GENCODE) -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror -Xptxas -v
CUDA_OBJECTS = $(patsubst %.cu,$(BUILD)/cuda/%.o,$(CUDA_CU)) $(patsubst %.c,$(BUILD)/cuda/%.o,$(CUDA_C) kernels/open.c)
CUDA_LIBS = -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcublasLt -lcudart $(if $(HAVE_NCCL),-lnccl) -lstdc++
CUDNN_LIBS = $(foreach d,$(wildcard $(CUDNN_AT)/lib64 $(CUDNN_AT)/lib),-L$(d) -Wl,-rpath,$(d)) -lcudnn

# What ptxas said of registers stands beside the object, and the PTX, which says how many threads a block has.
$(BUILD)/cuda/flags: FORCE
	$(call stamp,$(NVCC) $(CUDA_FLAGS))
$(BUILD)/cuda/%.o: %.cu $(BUILD)/cuda/flags
	@mkdir -p $(@:.o=.kept)
	$(NVCC) $(CUDA_FLAGS) -MD -MP -MF $(@:.o=.d) -MT $@ --keep --keep-dir $(@:.o=.kept) -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); rm -f $@; exit 1; }
	@mv $(@:.o=.kept)/*.compute_$(firstword $(CUDA_ARCHS)).ptx $(@:.o=.ptx) && rm -rf $(@:.o=.kept)
$(BUILD)/cuda/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DWITH_CUDA $(NCCL_FLAGS) $(CUDA_INCLUDE) -c -o $@ $<

$(BUILD)/cuda/nccl: FORCE
	$(call stamp,$(HAVE_NCCL))
$(BUILD)/cuda/kernels/cuda/table.o: $(BUILD)/cuda/nccl

# What the program is made of besides the libraries.
CUDA_PROGRAM ?= $(if $(HAVE_NVCC),yes)
WITH_CUDNN = $(filter yes,$(CUDNN))
PROGRAM_OBJECTS = $(if $(CUDA_PROGRAM),$(CUDA_OBJECTS) $(if $(WITH_CUDNN),$(CUDNN_OBJECTS)))
PROGRAM_LIBS = $(if $(CUDA_PROGRAM),$(if $(WITH_CUDNN),$(CUDNN_LIBS)) $(CUDA_LIBS))
$(BUILD)/parts: FORCE
	$(call stamp,$(PROGRAM_OBJECTS) $(PROGRAM_LIBS))
cuda-headers: # prints where they are, or nothing
	@echo $(CUDA_HEADERS)
cudnn-home: # the same of cuDNN's folder and of the toolkit's
	@echo $(if $(CUDNN_HEADER),$(CUDNN_AT) $(CUDA_HOME))
found-cuda:
	@echo "nvcc:     $(if $(HAVE_NVCC),$(NVCC) $$($(NVCC) --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'),not found)"
	@echo "cuDNN:    $(if $(WITH_CUDNN),a peer in the benchmark,left out; make CUDNN=yes builds it in)"
	@echo "devices:  cpu$(if $(CUDA_PROGRAM), cuda ($(addprefix sm_,$(CUDA_ARCHS))), (left out: cuda, whose kernels nvcc compiles))"
	@echo "NCCL:     $(if $(HAVE_NCCL),$$(awk '/define NCCL_(MAJOR|MINOR|PATCH) /{printf "%s%s", sep, $$3; sep="."}' $(NCCL_HEADER)),left out: one rank on cuda)"

# The operations' tests on a GPU; `make gpu-tests` links them anywhere, `make gpu-test` runs everything there is to run on a machine with one.
GPU_TESTS = $(patsubst %.c,$(BUILD)/gpu/%,$(SIMT_KERNEL_TESTS))
$(BUILD)/gpu/tests/%_test: tests/%_test.c $(CUDA_OBJECTS) $(LIB_kernels) $(LIB_base)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DWITH_GPU $(CUDA_INCLUDE) -o $@ $^ $(CUDA_LIBS) $(LDLIBS) -lcmocka
gpu-tests: $(GPU_TESTS)
gpu-test: deps
	$(MAKE) CUDA_PROGRAM=yes $(if $(CUDNN_HEADER),CUDNN=yes) all gpu-tests
	sh tests/tools/gpu.sh $(BUILD) $(BUILD)/gpu-report.txt

REGISTERS = kernels/cuda/registers.txt
$(BUILD)/cuda/registers.txt: $(patsubst %.cu,$(BUILD)/cuda/%.o,$(CUDA_CU)) tests/tools/registers.sh
	sh tests/tools/registers.sh "$(NVCC)" $(patsubst %.cu,$(BUILD)/cuda/%.ptxas,$(CUDA_CU)) >$@.new
	mv $@.new $@
cuda: $(BUILD)/cuda/registers.txt $(CUDA_OBJECTS) $(if $(CUDNN_HEADER),$(CUDNN_OBJECTS))
	sh tests/tools/registers.sh --compare $(REGISTERS) $<
cuda-table: $(BUILD)/cuda/registers.txt
	sh tests/tools/registers.sh --spills $<
	cp $< $(REGISTERS)

# ---- on a CPU: one set of objects for each variant ----
SIMT_CXX ?= g++
SIMT_CHECKER_CXX ?= clang++
SIMT_PACKAGES = g++ clang binutils
SIMT_WARN = -Wall -Wextra -Werror -Wno-unknown-pragmas
SIMT_CXXFLAGS = -std=gnu++17 -g $(SIMT_WARN) -fno-strict-aliasing -ffp-contract=off -I. $(CUDA_INCLUDE) -DWITH_SIMT -MMD -MP
SIMT_WITHOUT = $(if $(CUDNN_HEADER),,tests/simt/cudnn%) $(if $(HAVE_NCCL),,%/nccl.cpp)
SIMT_TESTS = $(SIMT_KERNEL_TESTS) $(filter-out $(SIMT_WITHOUT),$(wildcard tests/simt/*_test.c tests/simt/*_test.cpp))
SIMT_RUNTIME = $(filter-out %_test.cpp tests/simt/checker%.cpp $(SIMT_WITHOUT),$(wildcard tests/simt/*.cpp))

# simt_variant NAME,KERNEL-COMPILER,KERNEL-FLAGS,HOST-FLAGS,SOURCES-OF-THE-CHECKER,LINK-FLAGS,COMMAND-ON-KERNEL-OBJECTS
define simt_variant
SIMT_OBJECTS_$(1) = $$(patsubst %.cu,$$(BUILD)/$(1)/%.o,$$(CUDA_CU)) $$(patsubst %.c,$$(BUILD)/$(1)/%.o,$$(SIMT_C) kernels/open.c) \
    $$(patsubst %.cpp,$$(BUILD)/$(1)/%.o,$$(SIMT_RUNTIME) $(5))
SIMT_BINS_$(1) = $$(patsubst %,$$(BUILD)/$(1)/%,$$(basename $$(SIMT_TESTS)))
$$(BUILD)/$(1)/%.o: %.cu
	@mkdir -p $$(@D)
	$(2) -x c++ $$(SIMT_CXXFLAGS) $(3) -c -o $$@ $$<
	$(if $(7),$(7) $$@)
$$(BUILD)/$(1)/%_test.o: %_test.cpp
	@mkdir -p $$(@D)
	$(2) $$(SIMT_CXXFLAGS) $(3) -c -o $$@ $$<
	$(if $(7),$(7) $$@)
$$(BUILD)/$(1)/%.o: %.cpp
	@mkdir -p $$(@D)
	$$(SIMT_CXX) $$(SIMT_CXXFLAGS) -fopenmp $(4) -c -o $$@ $$<
$$(BUILD)/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $(4) -DWITH_SIMT $$(NCCL_FLAGS) $$(CUDA_INCLUDE) -c -o $$@ $$<
$$(BUILD)/$(1)/kernels/cuda/table.o: $$(BUILD)/cuda/nccl
$$(BUILD)/$(1)/tests/%_test: $$(BUILD)/$(1)/tests/%_test.o $$(SIMT_OBJECTS_$(1)) $$(LIB_kernels) $$(LIB_base)
	$$(SIMT_CXX) -rdynamic -o $$@ $$^ $(6) $$(LDLIBS) -lcmocka
$(1)-tests: $$(SIMT_BINS_$(1))
.PRECIOUS: $$(BUILD)/$(1)/%.o
.PHONY: $(1)-tests
endef
# So that the checker sees copies of whole objects, which clang before 15 leaves to the library.
SIMT_CHECKER_NAMES = objcopy --redefine-sym memcpy=__tsan_memcpy --redefine-sym memmove=__tsan_memmove --redefine-sym memset=__tsan_memset
SIMT_SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
$(eval $(call simt_variant,simt,$$(SIMT_CXX),-O2,-O2,tests/simt/checker_none.cpp,))
$(eval $(call simt_variant,simt-asan,$$(SIMT_CXX),-O1 $(SIMT_SANITIZE),-O1 $(SIMT_SANITIZE),tests/simt/checker_none.cpp,$(SIMT_SANITIZE)))
$(eval $(call simt_variant,simt-checker,$$(SIMT_CHECKER_CXX),-O1 -fsanitize=thread -mllvm -tsan-instrument-read-before-write -DWITH_CHECKER,-O2 -DWITH_CHECKER,tests/simt/checker.cpp,,$$(SIMT_CHECKER_NAMES)))
$(eval $(call simt_variant,simt-gcov,$$(SIMT_CXX),-O1 --coverage,-O1,tests/simt/checker_none.cpp,--coverage))

# The whole program on the emulated device.
simt: $(BUILD)/rlaifv-simt
$(BUILD)/rlaifv-simt: $(BUILD)/engine/main.o $(SIMT_OBJECTS_simt) $(LIBS)
	$(SIMT_CXX) -rdynamic -o $@ $^ $(LDLIBS)
# Twenty schedules, sanitizers, checker, lines reached.
simt-matrix: simt-tests
	sh tests/simt/matrix.sh $(BUILD)
# The same with the checker's kernels: `rlaifv-simt-counts bench kernels --device simt` counts memory traffic (bench/device.c).
simt-counts: $(BUILD)/rlaifv-simt-counts
$(BUILD)/rlaifv-simt-counts: $(BUILD)/engine/main.o $(SIMT_OBJECTS_simt-checker) $(LIBS)
	$(SIMT_CXX) -rdynamic -o $@ $^ $(LDLIBS)
FORCE:
.PHONY: cudnn-home cuda cuda-table gpu-tests gpu-test simt simt-matrix simt-counts cuda-headers found-cuda FORCE
