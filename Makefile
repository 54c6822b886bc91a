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
LDLIBS = -ldnnl -linih -ljansson -ljpeg -lpcre2-8 -lutf8proc -lxxhash -lm -fopenmp -Wl,--as-needed -lcurl $(MPI_LIBS) -Wl,--no-as-needed

BASE = $(wildcard base/*.c)
KERNELS = $(wildcard kernels/*.c kernels/comm/*.c)
TOKENIZER = $(wildcard tokenizer/*.c)
MODEL = $(wildcard model/*.c)
ENGINE = $(filter-out engine/main.c,$(wildcard engine/*.c engine/eval/*.c engine/scenes/*.c engine/report/*.c engine/table/*.c bench/*.c))

MACHINE := $(shell uname -m)
# The CPU backend is compiled once per instruction set; each copy exports one table, and kernels/open.c picks (docs/kernels.md).
ISA_SOURCES = $(wildcard kernels/cpu/*.c)
ISAS = generic $(if $(filter x86_64,$(MACHINE)),avx2 avx512 avx512bf16)
ISA_generic =
ISA_avx2 = -mavx2 -mfma -mf16c -mbmi2
ISA_avx512 = $(ISA_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
ISA_avx512bf16 = $(ISA_avx512) -mavx512bf16

# Files of configs/ that are part of the program: configs/DIR/NAME.EXT is the array data_DIR_NAME_EXT, ended by a zero byte. A room that has
# some gets their objects with its own.
PROMPTS = $(wildcard configs/prompts/*.txt)
REPORT_PARTS = $(wildcard configs/report/*)
TABLES = configs/tables/tables.json
data_object = $(patsubst configs/%,$(BUILD)/data/%.o,$(1))
.PRECIOUS: $(BUILD)/data/%.c
$(BUILD)/data/%.c: configs/%
	@mkdir -p $(@D)
	@n=data_$$(printf %s '$*' | tr -c '[:alnum:]' _); { echo "extern const char $$n[];"; echo "const char $$n[] = {"; od -An -v -td1 $< | sed 's/-*[0-9][0-9]*/&,/g'; echo "0 };"; } >$@.new && mv $@.new $@
$(BUILD)/data/%.o: $(BUILD)/data/%.c
	$(CC) $(CFLAGS) -c -o $@ $<

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
$(eval $(call library,tokenizer,$(call object,$(TOKENIZER)) $(BUILD)/tokenizer/chat_builtins.o))
$(eval $(call library,model,$(call object,$(MODEL))))
$(eval $(call library,engine,$(call object,$(ENGINE)) $(BUILD)/engine/commit.o $(call data_object,$(PROMPTS) $(REPORT_PARTS) $(TABLES))))

# The commit (engine/version.h), written again only when it is another.
$(BUILD)/engine/commit.c: FORCE
	@mkdir -p $(@D)
	@v=$$(if [ -e .git ]; then git describe --tags --always --dirty 2>/dev/null; fi); printf '#include "engine/version.h"\nconst char *program_version(void) { return "%s"; }\n' "$${v:-unknown}" >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(BUILD)/engine/commit.o: $(BUILD)/engine/commit.c
	$(CC) $(CFLAGS) -c -o $@ $<

# The chat templates of configs/chat as an array of strings.
CHAT_TEMPLATES = $(sort $(wildcard configs/chat/*.chat))
$(BUILD)/tokenizer/chat_builtins.c: configs/chat $(CHAT_TEMPLATES) tokenizer/builtins.awk
	@mkdir -p $(@D)
	awk -f tokenizer/builtins.awk $(CHAT_TEMPLATES) >$@.partial && mv $@.partial $@
$(BUILD)/tokenizer/chat_builtins.o: $(BUILD)/tokenizer/chat_builtins.c
	$(CC) $(CFLAGS) -c -o $@ $<

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
PACKAGES = gcc make libdnnl-dev libinih-dev libstb-dev libjpeg-dev libjansson-dev libcurl4-openssl-dev libpcre2-dev libutf8proc-dev libxxhash-dev libopenmpi-dev openmpi-bin libcmocka-dev
HEADERS_NEEDED = dnnl.h ini.h stb/stb_image.h jpeglib.h jansson.h curl/curl.h pcre2.h utf8proc.h xxhash.h cmocka.h
# The tests of the benchmarks' own files, where those are, ask for WordNet's lemmas too.
test check: NEEDED_FILES = $(if $(wildcard $(or $(RLAIFV_SHARED),../shared)/data/AMBER),$(or $(RLAIFV_WORDNET),/usr/share/wordnet)/index.noun)
deps:
	@sh tests/tools/deps.sh "$(PACKAGES)$(if $(NEEDED_FILES), wordnet-base)$(if $(CUDA_HEADERS), $(SIMT_PACKAGES))" "$(HEADERS_NEEDED)" "mpicc mpirun$(if $(CUDA_HEADERS), $(SIMT_CXX) $(SIMT_CHECKER_CXX) objcopy addr2line)" "$(NEEDED_FILES)"
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

# ---- fuzzing: parsers of files against invented ones, by clang's libFuzzer; FUZZ_SECONDS each ----
FUZZ_SECONDS ?= 60
FUZZ_CC = clang -std=c11 -D_GNU_SOURCE -g -O1 $(WARN) -Wno-unknown-warning-option -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_RUN = -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=$(BUILD)/tests/fuzz/
FUZZ_SOURCES = model/zip.c model/pickle.c model/torch_file.c model/safetensors.c model/tensor_set.c $(BASE)
FUZZ_IMAGE = $(wildcard model/image*.c) base/error.c base/file.c
$(BUILD)/tests/fuzz/image_fuzz: tests/fuzz/image_fuzz.c $(FUZZ_IMAGE) $(wildcard model/image*.h)
	@mkdir -p $(@D)
	$(FUZZ_CC) -o $@ $< $(FUZZ_IMAGE) -ljpeg -lxxhash -lm
$(BUILD)/tests/fuzz/%_fuzz: tests/fuzz/%_fuzz.c tests/fuzz/fuzz.h $(FUZZ_SOURCES) $(wildcard model/*.h base/*.h)
	@mkdir -p $(@D)
	$(FUZZ_CC) -o $@ $< $(FUZZ_SOURCES) -ljansson -lxxhash
fuzz-pickle fuzz-safetensors: fuzz-%: $(BUILD)/tests/fuzz/%_fuzz
	@mkdir -p $(BUILD)/tests/fuzz/$*-found
	$< $(FUZZ_RUN) -max_len=8192 -rss_limit_mb=1000 -timeout=5 -dict=tests/fuzz/$*.dict $(BUILD)/tests/fuzz/$*-found tests/golden/$*
$(BUILD)/tests/fuzz/tokenizer_json_fuzz: tests/fuzz/tokenizer_json_fuzz.c $(BASE) $(filter-out tokenizer/template%,$(TOKENIZER)) $(wildcard tokenizer/*.h base/*.h)
	@mkdir -p $(@D)
	$(FUZZ_CC) -o $@ $< $(BASE) $(filter-out tokenizer/template%,$(TOKENIZER)) -ljansson -lpcre2-8 -lutf8proc -lxxhash -lm
fuzz-tokenizer: $(BUILD)/tests/fuzz/tokenizer_json_fuzz
	@mkdir -p $(BUILD)/tests/fuzz/tokenizer-found
	python3 tests/fuzz/make_corpus.py $(BUILD)/tests/fuzz/tokenizer-found
	$< $(FUZZ_RUN) -max_len=8192 -rss_limit_mb=4096 -timeout=60 $(BUILD)/tests/fuzz/tokenizer-found
fuzz-image: $(BUILD)/tests/fuzz/image_fuzz
	@mkdir -p $(BUILD)/tests/fuzz/image-found
	$< $(FUZZ_RUN) -max_len=4096 -rss_limit_mb=3000 -malloc_limit_mb=1100 -timeout=25 $(BUILD)/tests/fuzz/image-found tests/golden/images

# ---- the demo and its base models ----
demo: deps
	$(MAKE) -j$$(nproc) all
	sh configs/demo/run.sh $(BUILD)/rlaifv
# The paper's tables, filled at the size of the demo's world: docs/tables.md, which says how long that took. A stopped one goes on.
tables: deps
	$(MAKE) -j$$(nproc) all
	sh configs/tables/tables.sh $(BUILD)/rlaifv
# Trains tower, labeler and policy from nothing: about a quarter of an hour on two cores. The results stand in configs/demo/{policy,labeler}.
base: deps
	$(MAKE) all
	sh configs/demo/base.sh $(BUILD)/rlaifv
bench: deps
	$(MAKE) all
	$(BUILD)/rlaifv bench kernels
peer-tokenizer: all
	python3 -m venv build/venv && build/venv/bin/pip install -q sentencepiece tokenizers
	build/venv/bin/python tests/tokenizer/peer_sentencepiece.py
	build/venv/bin/python tests/tokenizer/peer_tokenizers.py
	build/venv/bin/python tests/tokenizer/peer_tokenizers.py --speed
# What training exports is opened by Transformers, or, where it has no class for a layout, by others' parts put together, which say the same of it.
peer-export: all
	python3 -m venv build/venv && build/venv/bin/pip install -q torch transformers timm safetensors pillow sentencepiece protobuf
	build/venv/bin/python tests/golden/peer_export.py $(BUILD)/rlaifv
# Full widths, one block of each stack, random weights: activations on the way and log-probs beside PyTorch's. 16 GB of memory.
peer-models: all
	python3 -m venv build/venv && build/venv/bin/pip install -q torch transformers timm safetensors pillow sentencepiece
	build/venv/bin/python tests/golden/peer_models.py $(BUILD)/rlaifv build
# Pairs through RLAIF-V-Dataset's Parquet files and back.
peer-parquet: all
	python3 -m venv build/venv && build/venv/bin/pip install -q pyarrow
	build/venv/bin/python tests/engine/peer_parquet.py $(BUILD)/rlaifv

# The report of a small run, tried in a browser at a phone's and a desktop's width; screenshots in $(BUILD)/report-check.
report-check: deps
	@sh tests/tools/deps.sh "gnuplot-nox chromium" "" "gnuplot chromium"
	$(MAKE) all
	sh tests/report/check.sh $(BUILD)/rlaifv $(BUILD)/report-check
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
help:
	@echo "make            build ./rlaifv"
	@echo "make demo       the whole method on the built-in world, in minutes"
	@echo "make tables     the paper's tables at that size, into docs/tables.md: about an hour on two cores"
	@echo "make test       the checks of a change  make check     without sanitizers     make sanitize  those alone"
	@echo "make simt-matrix  CUDA kernels on the emulator under every schedule and tool, ten minutes once built"
	@echo "make base       train the demo's base models again     make bench  kernel microbenchmarks"
	@echo "make simt       build/rlaifv-simt, the program on an emulated GPU     make cuda  kernels by nvcc, registers checked"
	@echo "make CUDNN=yes  with cuDNN as a peer in the benchmark of CUDA kernels"
	@echo "make gpu-test   everything there is to check and measure on a machine with a GPU, into one report"
	@echo "make fuzz-pickle fuzz-safetensors fuzz-image fuzz-tokenizer  a minute (FUZZ_SECONDS) of invented files, by clang"
	@echo "make report-check  the report of a small run in a browser, with screenshots, by chromium"
	@echo "make deps found debug format clean"
	@echo "make peer-tokenizer peer-export peer-models peer-parquet  beside SentencePiece, Transformers, timm and pyarrow (installed into build/venv)"
clean:
	rm -rf build build-* rlaifv
.PHONY: all rlaifv clean tests deps found test check sanitize sanitize-build debug demo tables base bench format help
.PHONY: report-check peer-tokenizer peer-export peer-models peer-parquet
.PHONY: fuzz-pickle fuzz-safetensors fuzz-image fuzz-tokenizer
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
