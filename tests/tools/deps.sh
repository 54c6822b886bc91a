#!/bin/sh
# deps.sh PACKAGES HEADERS [COMMANDS] [FILES] - installs what is missing through apt-get (with sudo when not root), after saying what; elsewhere prints the
# list.
missing=
for h in $2; do
    echo "#include <$h>" | ${CC:-gcc} -E -include stdarg.h -include stddef.h -include setjmp.h -include stdint.h -DPCRE2_CODE_UNIT_WIDTH=8 - >/dev/null 2>&1 || missing="$missing $h"
done
command -v gcc >/dev/null && command -v make >/dev/null || missing="$missing gcc"
for c in $3; do command -v "$c" >/dev/null || missing="$missing $c"; done
for f in $4; do [ -e "$f" ] || missing="$missing $f"; done
[ -z "$missing" ] && exit 0
echo "missing:$missing"
if ! command -v apt-get >/dev/null; then
    echo "no apt-get here; install these (Debian's names) by your system's own means: $1" >&2
    exit 1
fi
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing: $1"
$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $1 >/dev/null || { echo "apt-get could not install them" >&2; exit 1; }
