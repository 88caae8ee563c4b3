#!/bin/sh
# run.sh BUILD SECONDS [NAME...]: runs fuzz targets of the build tree BUILD one after the other, all without names, from
# their seeds in corpus/, and prints for each how many edges it reached.  What it finds stays in BUILD/fuzz-NAME.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd) seconds=$2
shift 2
[ $# -gt 0 ] || set -- $(cd "$here" && ls ./*_fuzz.cpp | sed 's|^\./||; s|_fuzz\.cpp$||')
[ -d /dev/shm ] && export TMPDIR=/dev/shm  # some targets write what their reader opens

found=0
for name in "$@"; do
  case $name in
    gguf | safetensors) words=$here/$name.dict ;;
    tokenizer_gguf) words=$here/gguf.dict ;;
    training_state) words=$here/safetensors.dict ;;
    llama2c | rows | tokenizer | tiktoken) words= ;;
    *) words=$here/json.dict ;;
  esac
  work=$build/fuzz-$name
  mkdir -p "$work/corpus"
  status=0
  "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=20 -artifact_prefix="$work/" ${words:+"-dict=$words"} \
    "$work/corpus" "$here/corpus/$name" >"$work/log" 2>&1 || status=$?
  edges=$(grep -o 'cov: [0-9]*' "$work/log" | tail -n 1)
  runs=$(grep -o '^Done [0-9]* runs' "$work/log" || true)
  if [ "$status" -eq 0 ]; then
    echo "$name: ${edges:-none}, ${runs:-not done}"
  else
    echo "$name: FOUND something, see $work/log"
    found=1
  fi
done
exit $found
