#!/bin/sh
# registers.sh - what ptxas says of every kernel, as a table that is checked in: a kernel that spills, or changes unseen, fails the build.
#
#   registers.sh NVCC FILE.ptxas...          prints the table; FILE.ptx beside each says how many threads a block has
#   registers.sh --spills TABLE              exit 1 when a kernel spills
#   registers.sh --compare KNOWN TABLE       that, and exit 1 when the tables differ; another nvcc's table is not compared
#
# Warps are those that fit a multiprocessor of 65536 registers, 64 warps and 32 blocks, dynamic shared memory left out.
spills() {
    awk -F'|' '/^[^#]/ { split($2, f, " "); if (f[3] > 0) { print "spills: " $0; bad = 1 } } END { exit bad }' "$1"
}
case $1 in
--spills) spills "$2" || exit 1 ;;
--compare)
    spills "$3" || exit 1
    if [ "$(head -1 "$2")" != "$(head -1 "$3")" ]; then
        echo "not compared with $2: that is of $(head -1 "$2"), this of $(head -1 "$3")"
    elif ! diff -u "$2" "$3"; then
        echo "kernels changed their registers, shared memory or stack: if that is meant, make cuda-table and check $2 in"
        exit 1
    else
        echo "$(grep -vc '^#' "$3") kernels, none spills, all as in $2"
    fi
    ;;
*)
    nvcc=$1
    shift
    echo "# nvcc $("$nvcc" --version | sed -n 's/.*, V\([0-9.]*\)$/\1/p')"
    echo "# file kernel | threads shared spilled stack | architecture registers (warps) ..."
    for f; do
        awk -v file="$(basename "$f" .ptxas)" '
            function warps(registers, threads, shared,    each, blocks) {
                if (!threads) return "?"
                each = int((threads + 31) / 32)
                blocks = int(65536 / (int((registers * 32 + 255) / 256) * 256 * each))
                if (blocks > 32) blocks = 32
                if (blocks > int(64 / each)) blocks = int(64 / each)
                if (shared && blocks > int(233472 / (shared + 1024))) blocks = int(233472 / (shared + 1024))
                return blocks * each
            }
            FILENAME ~ /\.ptx$/ && /\.entry/ { kernel = $NF; sub(/\(.*/, "", kernel) }
            FILENAME ~ /\.ptx$/ && /\.maxntid/ { gsub(/,/, ""); threads[kernel] = $2 * ($3 ? $3 : 1) * ($4 ? $4 : 1) }
            /Compiling entry function/ {
                split($0, q, "\047")
                kernel = q[2]; arch = q[4]
                if (!(kernel in seen)) { seen[kernel] = ++kernels; names[kernels] = kernel }
            }
            /bytes stack frame/ {
                if ($1 > stack[kernel]) stack[kernel] = $1
                if ($5 + $9 > spilled[kernel]) spilled[kernel] = $5 + $9
            }
            /Used [0-9]+ registers/ {
                smem = 0
                for (i = 2; i <= NF; i++) {
                    if ($i ~ /^registers/) registers = $(i - 1)
                    if ($i ~ /^smem/) smem = $(i - 2)
                }
                if (smem > shared[kernel]) shared[kernel] = smem
                used[kernel] = used[kernel] sprintf(" %s %d (%s)", arch, registers, warps(registers, threads[kernel], smem))
            }
            END {
                for (n = 1; n <= kernels; n++) {
                    k = names[n]
                    printf "%s %s | %s %d %d %d |%s\n", file, k, k in threads ? threads[k] : "?", shared[k], spilled[k], stack[k], used[k]
                }
            }' "${f%.ptxas}.ptx" "$f"
    done | c++filt | sed 's/ void / /; s/>(.*) |/> |/; s/^\([^ ]* [a-zA-Z_0-9]*\)(.*) |/\1 |/; s/__nv_bfloat16/bf16/g; s/, /,/g' | LC_ALL=C sort
    ;;
esac
