#!/bin/sh
# layers.sh - the rooms depend only downwards, files stay readable in length, and nothing unfinished is left lying about.
bad=0
upward() { # ROOM FORBIDDEN-ROOMS
    found=$(grep -nE "#include \"($2)/" $(find "$1" -name '*.[ch]') /dev/null)
    [ -n "$found" ] && { echo "$1/ includes from above it:"; echo "$found"; bad=1; }
}
upward base 'kernels|tokenizer|model|engine|bench'
upward kernels 'tokenizer|model|engine|bench'
upward tokenizer 'model|engine|bench'
upward model 'engine|bench'
for f in $(find base kernels tokenizer model engine bench tests -name '*.[ch]'); do
    n=$(wc -l <"$f")
    [ "$n" -gt 800 ] && { echo "$f has $n lines; 800 is the most"; bad=1; }
done
word='TO''DO|FIX''ME|X''XX'
found=$(grep -nwE "$word" $(find base kernels tokenizer model engine bench -name '*.[ch]') /dev/null)
[ -n "$found" ] && { echo "unfinished:"; echo "$found"; bad=1; }
exit $bad
