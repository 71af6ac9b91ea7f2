#!/bin/sh
# Installs a build tree, builds the example against the installed package as a stranger would (CMake, pkg-config),
# runs it and looks at what it needs at run time. Usage: embed.sh <build tree> <example> <cmake> <cc>
set -eu
tree=$1 example=$2 cmake=$3 cc=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$tree" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/prefix" # the package must not remember where it was installed
"$cmake" -S "$example" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_C_COMPILER="$cc" >/dev/null
"$cmake" --build "$work/build" >/dev/null
programs="$work/build/embed $work/build/embed_static"
if command -v pkg-config >/dev/null; then
  PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name gradiometer.pc)")
  export PKG_CONFIG_PATH
  # shellcheck disable=SC2046
  "$cc" -std=c11 -Wall -Wextra -pedantic -Werror "$example/main.c" -o "$work/embed" \
    $(pkg-config --cflags --libs gradiometer) -lm
  programs="$programs $work/embed"
fi

LD_LIBRARY_PATH=$(dirname "$(find "$work/prefix" -name libgradiometer.so)")
export LD_LIBRARY_PATH
"$work/build/lstm" >"$work/lstm"
cat "$work/lstm"
grep -qx 'remembers' "$work/lstm"
for program in $programs; do
  "$program" tanh >"$work/tanh"
  "$program" sigmoid >"$work/sigmoid"
  cat "$work/tanh" "$work/sigmoid"
  grep -qx 'learned' "$work/tanh"
  grep -q '^did not learn' "$work/sigmoid"
  ldd "$program" >"$work/needs"
  grep -q 'libc\.so' "$work/needs"
  if grep -E 'not found|libstdc\+\+|libc\+\+' "$work/needs"; then exit 1; fi
done
