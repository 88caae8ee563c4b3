#!/bin/sh
# without_remarks.sh NVCC ARGUMENT...: runs nvcc, less what ptxas remarks on code that it was told not to optimise.
words=$(mktemp) || exit 1
trap 'rm -f "$words"' EXIT
status=0
"$@" 2>"$words" || status=$?
grep -v '^ptxas info *: (C75' "$words" >&2
exit $status
