#!/bin/sh
# headers_alone.sh INCLUDE FLAGS COMPILER: each header under INCLUDE/lolcats compiles alone and without warnings.
# CUDA headers (.cuh) need nvcc and are left to the CUDA build.
set -eu
include=$1 flags=$2 compiler=$3
cd "$include"
count=$(find lolcats -name '*.hpp' | wc -l)
[ "$count" -gt 0 ] || { echo "no headers under $include/lolcats"; exit 1; }
export compiler flags
find lolcats -name '*.hpp' | sort | xargs -P "$(nproc)" -I {} sh -c '
  echo "#include <{}>" | "$compiler" @"$flags" -Werror -fsyntax-only -x c++ - || { echo "FAILED alone: {}"; exit 1; }' ||
  { echo "some headers do not compile alone (see above)"; exit 1; }
echo "$count headers compile alone"
