# rlaifv: `make` builds the program, `make demo` shows the whole method, `make test` checks it. `make help` lists the rest.
# Variables: BUILD (folder for objects, default build), CC, CFLAGS_EXTRA, NVCC, NCCL, CUDNN, MPICC, MPI_INCLUDE, MPI_LIBS.
BUILD ?= build
CC = gcc
CFLAGS_EXTRA ?=
OPT ?= -O3

# What MPI's compiler would add: Open MPI's says so itself; for another MPI give MPI_INCLUDE and MPI_LIBS.
MPICC ?= mpicc
MPI_INCLUDE := $(patsubst -I%,-isystem %,$(shell $(MPICC) --showme:compile 2>/dev/null))
MPI_LIBS := $(shell $(MPICC) --showme:link 2>/dev/null)

WARN = -Wall -Wextra -Werror -Wno-unknown-pragmas
CFLAGS = -std=c11 -D_GNU_SOURCE -g $(OPT) $(WARN) -fopenmp -fno-math-errno -fno-trapping-math -ffp-contract=fast -I. -MMD -MP $(CFLAGS_EXTRA)
LDLIBS = -ldnnl -linih -ljansson -lpcre2-8 -lutf8proc -lxxhash -lm -fopenmp -Wl,--as-needed $(MPI_LIBS) -Wl,--no-as-needed

BASE = $(wildcard base/*.c)
KERNELS = $(wildcard kernels/*.c kernels/comm/*.c)
TOKENIZER = $(wildcard tokenizer/*.c)
MODEL = $(wildcard model/*.c)
ENGINE = $(filter-out engine/main.c,$(wildcard engine/*.c engine/eval/*.c engine/scenes/*.c bench/*.c))

MACHINE := $(shell uname -m)
# The CPU backend is compiled once per instruction set; each copy exports one table, and kernels/open.c picks (docs/kernels.md).
ISA_SOURCES = $(wildcard kernels/cpu/*.c)
ISAS = generic $(if $(filter x86_64,$(MACHINE)),avx2 avx512 avx512bf16)
ISA_generic =
ISA_avx2 = -mavx2 -mfma -mf16c -mbmi2
ISA_avx512 = $(ISA_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
ISA_avx512bf16 = $(ISA_avx512) -mavx512bf16

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
ISA_OBJECTS = $(foreach i,$(ISAS),$(patsubst %.c,$(BUILD)/%.$(i).o,$(ISA_SOURCES)))

LIB_base = $(BUILD)/libbase.a
LIB_kernels = $(BUILD)/libkernels.a
LIB_tokenizer = $(BUILD)/libtokenizer.a
LIB_model = $(BUILD)/libmodel.a
LIB_engine = $(BUILD)/libengine.a
LIBS = $(LIB_engine) $(LIB_model) $(LIB_tokenizer) $(LIB_kernels) $(LIB_base)

all: rlaifv
include kernels/cuda/cuda.mk
rlaifv: $(BUILD)/rlaifv
	@ln -sf $(BUILD)/rlaifv rlaifv
$(BUILD)/rlaifv: $(BUILD)/engine/main.o $(PROGRAM_OBJECTS) $(LIBS) $(BUILD)/parts
	$(CC) $(CFLAGS) -o $@ $(filter-out %/parts,$^) $(LDLIBS) $(PROGRAM_LIBS)

define library
$(LIB_$(1)): $(2)
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(eval $(call library,base,$(call object,$(BASE))))
$(eval $(call library,kernels,$(call object,$(KERNELS)) $(ISA_OBJECTS)))
$(eval $(call library,tokenizer,$(call object,$(TOKENIZER))))
$(eval $(call library,model,$(call object,$(MODEL))))
$(eval $(call library,engine,$(call object,$(ENGINE))))

$(BUILD)/kernels/comm/%.o: CFLAGS += $(MPI_INCLUDE)
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
define isa_rule
$(BUILD)/%.$(1).o: %.c
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) $(ISA_$(1)) -DISA=$(1) -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

# One cmocka program per test file; it links the rooms at and below its own: tests/ROOM/NAME_test.c -> $(BUILD)/tests/ROOM/NAME_test
TESTS = $(filter-out tests/simt/%,$(wildcard tests/*/*_test.c))
TEST_BINS = $(patsubst %.c,$(BUILD)/%,$(TESTS))
below_base = $(LIB_base)
below_kernels = $(LIB_kernels) $(below_base)
below_tokenizer = $(LIB_tokenizer) $(below_kernels)
below_model = $(LIB_model) $(below_tokenizer)
below_engine = $(LIB_engine) $(below_model)
define test_rule
$(BUILD)/tests/$(1)/%_test: tests/$(1)/%_test.c $(below_$(1))
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) -o $$@ $$< $(below_$(1)) $(LDLIBS) -lcmocka
endef
$(foreach r,base kernels tokenizer model engine,$(eval $(call test_rule,$(r))))

tests: $(TEST_BINS)

# ---- what is needed, and getting it ----
PACKAGES = gcc make libdnnl-dev libinih-dev libstb-dev libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev libopenmpi-dev openmpi-bin libcmocka-dev
HEADERS_NEEDED = dnnl.h ini.h stb/stb_image.h jansson.h pcre2.h utf8proc.h xxhash.h cmocka.h
deps:
	@sh tests/tools/deps.sh "$(PACKAGES)$(if $(CUDA_HEADERS), $(SIMT_PACKAGES))" "$(HEADERS_NEEDED)" "mpicc mpirun$(if $(CUDA_HEADERS), $(SIMT_CXX) $(SIMT_CHECKER_CXX) objcopy addr2line)"
found: found-cuda
	@echo "compiler: $$($(CC) --version | head -1)"
	@echo "oneDNN:   $$(grep -hE 'DNNL_VERSION_(MAJOR|MINOR|PATCH) ' /usr/include/oneapi/dnnl/dnnl_version.h 2>/dev/null | awk '{printf "%s%s", sep, $$3; sep="."}')"
	@echo "MPI:      $$($(MPICC) --showme:version 2>/dev/null)"
	@echo "sets:     $(ISAS)"

# ---- checks ----
test: deps
	@$(MAKE) --no-print-directory found
	$(MAKE) -j$$(nproc) all tests
	sh tests/run.sh $(BUILD) --sanitize --cuda
check: deps
	$(MAKE) -j$$(nproc) all tests
	sh tests/run.sh $(BUILD)
# Instrumented code hides from the compiler what it needs for these two warnings; the plain build keeps them.
sanitize-build:
	$(MAKE) BUILD=build-asan OPT=-O1 CFLAGS_EXTRA="-fsanitize=address,undefined -fno-omit-frame-pointer -Wno-alloc-size-larger-than -Wno-maybe-uninitialized" tests
sanitize: sanitize-build
	sh tests/run.sh build-asan
debug:
	$(MAKE) BUILD=build-debug OPT=-O0 all

# ---- the demo and its base models ----
demo: deps
	$(MAKE) -j$$(nproc) all
	sh configs/demo/run.sh $(BUILD)/rlaifv
# Trains tower, labeler and policy from nothing: about a quarter of an hour on two cores. The results stand in configs/demo/{policy,labeler}.
base: deps
	$(MAKE) all
	sh configs/demo/base.sh $(BUILD)/rlaifv
bench: deps
	$(MAKE) all
	$(BUILD)/rlaifv bench kernels
peer-tokenizer: all
	python3 -m venv build/venv && build/venv/bin/pip install -q sentencepiece && build/venv/bin/python tests/tokenizer/peer_sentencepiece.py
# What training exports is opened by Transformers, which says the same of it.
peer-export: all
	python3 -m venv build/venv && build/venv/bin/pip install -q torch transformers safetensors pillow sentencepiece
	build/venv/bin/python tests/golden/peer_export.py $(BUILD)/rlaifv
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
help:
	@echo "make            build ./rlaifv"
	@echo "make demo       the whole method on the built-in world, in minutes"
	@echo "make test       all checks but one      make check     without sanitizers     make sanitize  those alone"
	@echo "make simt-matrix  that one: CUDA kernels on the emulator under every schedule and tool, a quarter of an hour"
	@echo "make base       train the demo's base models again     make bench  kernel microbenchmarks"
	@echo "make simt       build/rlaifv-simt, the program on an emulated GPU     make cuda  kernels by nvcc, registers checked"
	@echo "make CUDNN=yes  with cuDNN as a peer in the benchmark of CUDA kernels"
	@echo "make gpu-test   everything there is to check and measure on a machine with a GPU, into one report"
	@echo "make deps found debug format clean"
	@echo "make peer-tokenizer peer-export  beside SentencePiece, and Transformers (installed into build/venv)"
clean:
	rm -rf build build-* rlaifv
.PHONY: all rlaifv clean tests deps found test check sanitize sanitize-build debug demo base bench peer-tokenizer peer-export format help
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
