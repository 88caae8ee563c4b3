#!/bin/sh
# headers_alone.sh INCLUDE FLAGS COMPILER [cuh]: each header under INCLUDE/lolcats compiles alone and without warnings;
# with `cuh` those of CUDA, by nvcc.
#
# Headers are compiled in chains, each behind some that it includes itself: behind those it stands as if it came first.  Two
# that bring large packages, fmt and Eigen, are precompiled, and what includes them begins behind them.
set -eu
include=$1 flags=$2 compiler=$3 suffix=${4:-hpp}
cd "$include"
# A header begins behind the last of these that it includes.
bases='lolcats/core/error.hpp lolcats/backend/cpu.hpp'
[ "$suffix" = hpp ] || bases=
count=$(find lolcats -name "*.$suffix" | wc -l)
[ "$count" -gt 0 ] || { echo "no headers under $include/lolcats"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Lines of a base, or `none`, and the headers of a chain.
find lolcats -name "*.$suffix" | sort | xargs awk -v bases="$bases" '
  function reach(h, top,  i, n, parts) {  # all that h includes, as within[top, .]
    n = split(includes[h], parts, " ")
    for (i = 1; i <= n; i++)
      if (!((top, parts[i]) in within)) { within[top, parts[i]] = 1; size[top]++; reach(parts[i], top) }
  }
  FNR == 1 { headers[++count] = FILENAME }
  /^# *include <lolcats\// { includes[FILENAME] = includes[FILENAME] " " substr($2, 2, length($2) - 2) }
  END {
    for (i = 1; i <= count; i++) reach(headers[i], headers[i])
    base_count = split(bases, base_list, " ")
    for (b = 1; b <= base_count; b++) {
      for (i = 1; i <= count; i++) if ((headers[i], base_list[b]) in within) base[headers[i]] = base_list[b]
      done[base_list[b]] = 1  # compiled as a base
    }
    do {  # a chain, from its end: the header that includes most, then the one within it that does, and so on
      chain = ""; last = ""
      do {
        next_one = ""
        for (i = 1; i <= count; i++) {
          h = headers[i]
          if (!(h in done) && (last == "" || (last, h) in within && base[h] == base[last]) && (next_one == "" || size[h] > size[next_one])) next_one = h
        }
        if (next_one != "") { done[next_one] = 1; chain = next_one " " chain; last = next_one }
      } while (next_one != "")
      if (chain != "") print (base[last] == "" ? "none" : base[last]) " " chain
    } while (chain != "")
  }' >"$work/chains"
export compiler flags suffix work
for base in $bases; do
  mkdir -p "$work/$(dirname "$base")" && echo "#include <$base>" >"$work/$base" && echo "$work/$base"
done | xargs -r -P "$(nproc)" -I {} sh -c '"$compiler" @"$flags" -Werror -x c++-header {} -o {}.gch || { echo "FAILED: {}"; exit 1; }' ||
  { echo "some headers do not compile alone (see above)"; exit 1; }
xargs -P "$(nproc)" -I {} sh -c '
  set -- {} && base=$1 && shift &&
  unit=$(mktemp "$work/XXXXXXXX") && for header; do echo "#include <$header>"; done >"$unit" &&
  if [ "$suffix" = cuh ]; then
    "$compiler" --options-file "$flags" -Werror=all-warnings -x cu "$unit"
  else
    if [ "$base" = none ]; then set --; else set -- -include "$work/$base"; fi
    "$compiler" @"$flags" -Werror "$@" -fsyntax-only -x c++ "$unit"
  fi || { echo "FAILED, one of: {}"; exit 1; }' <"$work/chains" ||
  { echo "some headers do not compile alone (see above)"; exit 1; }
echo "$count headers compile alone, in $(wc -l <"$work/chains") chains"
