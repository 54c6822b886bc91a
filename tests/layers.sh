#!/bin/sh
# layers.sh - the rooms depend only downwards, files stay readable in length, and nothing unfinished is left lying about.
bad=0
sources() { find "$@" \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' \); }
upward() { # ROOM FORBIDDEN-ROOMS
    found=$(grep -nE "#include \"($2)/" $(sources "$1") /dev/null)
    [ -n "$found" ] && { echo "$1/ includes from above it:"; echo "$found"; bad=1; }
}
upward base 'kernels|tokenizer|model|engine|bench'
upward kernels 'tokenizer|model|engine|bench'
upward tokenizer 'model|engine|bench'
upward model 'engine|bench'
# Assembly stands in one file, with its emulation.
found=$(grep -nE '\basm( volatile)?\(' $(sources kernels/cuda) /dev/null | grep -v '^kernels/cuda/ptx.cuh:')
[ -n "$found" ] && { echo "asm() outside kernels/cuda/ptx.cuh:"; echo "$found"; bad=1; }
for f in $(sources base kernels tokenizer model engine bench tests); do
    n=$(wc -l <"$f")
    [ "$n" -gt 800 ] && { echo "$f has $n lines; 800 is the most"; bad=1; }
done
word='TO''DO|FIX''ME|X''XX'
found=$(grep -nwE "$word" $(sources base kernels tokenizer model engine bench) /dev/null)
[ -n "$found" ] && { echo "unfinished:"; echo "$found"; bad=1; }
exit $bad
