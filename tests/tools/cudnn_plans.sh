#!/bin/sh
# cudnn_plans.sh CUDNN_HOME CUDA_HOME - asks the real cuDNN for plans of our graphs (cudnn_plans.c), for an A100 and an H100 that are only
# described to it. Needs the library and no GPU; the driver is the toolkit's stub.
cudnn=$1 cuda=$2
library=$(ls "$cudnn"/lib64/libcudnn.so "$cudnn"/lib/libcudnn.so 2>/dev/null | head -1)
stub=$cuda/lib64/stubs/libcuda.so
[ -n "$library" ] || { echo "no libcudnn.so in $cudnn"; exit 77; }
[ -e "$stub" ] || { echo "no $stub"; exit 77; }
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
wrap=
for call in Create Destroy SetStream BackendExecute BackendSetAttribute; do wrap="$wrap -Wl,--wrap=cudnn$call"; done
${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -I. -isystem "$cudnn/include" -isystem "$cuda/include" $wrap -o "$temporary/plans" \
    tests/tools/cudnn_plans.c kernels/cuda/cudnn.c kernels/cuda/cudnn_graph.c -L"${library%/*}" -lcudnn || exit 1
ln -s "$stub" "$temporary/libcuda.so.1" && ln -s "$stub" "$temporary/libcuda.so" || exit 1
for device in A100 H100; do
    LD_LIBRARY_PATH="$temporary:${library%/*}" "$temporary/plans" $device || exit 1
done
