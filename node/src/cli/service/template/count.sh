#!/bin/sh
# Text in, JSON out. What goes to standard error is for you: guilder task show. A non-zero exit code says that it failed.
set -e
echo "counting $GUILDER_INPUT_BYTES bytes for $GUILDER_BUYER" >&2
wc | { read -r lines words bytes; printf '{"lines": %d, "words": %d, "bytes": %d}\n' "$lines" "$words" "$bytes"; }
