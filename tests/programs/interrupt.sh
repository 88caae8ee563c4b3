#!/bin/sh
# interrupt.sh SIGNAL FILE LINES COMMAND...: sends SIGNAL once FILE has LINES lines; the status is the command's.
signal=$1 file=$2 lines=$3
shift 3
"$@" &
pid=$!
while kill -0 $pid 2>/dev/null; do
  if [ -e "$file" ] && [ "$(wc -l < "$file")" -ge "$lines" ]; then
    kill -"$signal" $pid
    break
  fi
  sleep 0.02
done
wait $pid
