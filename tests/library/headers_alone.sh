#!/bin/sh
# headers_alone.sh INCLUDE FLAGS COMPILER [cuh]: each header under INCLUDE/lolcats compiles alone and without warnings;
# with `cuh` those of CUDA, by nvcc.
#
# What a header includes first is compiled with nothing before it, too: such a header is not compiled once more.
set -eu
include=$1 flags=$2 compiler=$3 suffix=${4:-hpp}
cd "$include"
count=$(find lolcats -name "*.$suffix" | wc -l)
[ "$count" -gt 0 ] || { echo "no headers under $include/lolcats"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
find lolcats -name "*.$suffix" | sort | xargs awk '
  FNR == 1 { found = 0 }
  /^# *include/ && !found++ { print FILENAME, substr($2, 2, length($2) - 2) }' >"$work/first"
find lolcats -name "*.$suffix" | sort >"$work/all"
cut -d " " -f 2 "$work/first" | sort -u >"$work/covered"
comm -23 "$work/all" "$work/covered" >"$work/left"
export compiler flags suffix work
xargs -P "$(nproc)" -I {} sh -c '
  unit=$(mktemp "$work/XXXXXXXX") && echo "#include <{}>" >"$unit" &&
  if [ "$suffix" = cuh ]; then
    "$compiler" --options-file "$flags" -Werror=all-warnings -x cu "$unit"
  else
    "$compiler" @"$flags" -Werror -fsyntax-only -x c++ "$unit"
  fi || { echo "FAILED alone: {}"; exit 1; }' <"$work/left" ||
  { echo "some headers do not compile alone (see above)"; exit 1; }
echo "$count headers compile alone: $(wc -l <"$work/left") by themselves, the others first in one of these"
