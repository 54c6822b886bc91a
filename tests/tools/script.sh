# script.sh - read first by the checks of tests/cli, from the repository's root: the program, a folder that goes with the check, and how it fails. A check may
# put an EXIT trap or a `fail` of its own in their place.
program=${RLAIFV:-$PWD/build/rlaifv} here=$PWD
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
failed=0
fail() { # WHAT
    echo "FAILED: $*"
    failed=1
}
compare_build() { # tests/tools/compare.c as $compare
    compare=$temporary/compare
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -fopenmp -I. -o "$compare" tests/tools/compare.c model/safetensors.c model/safetensors_write.c model/tensor_set.c \
        model/torch_file.c model/zip.c model/pickle.c base/*.c -ljansson -lxxhash -lm || exit 1
}
