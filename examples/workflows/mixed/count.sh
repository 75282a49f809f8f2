#!/bin/sh
# Counts the names in its input: a JSON object on stdin, a JSON value on stdout, anything else on stderr.
echo "instance $ORK_PARALLEL_INDEX of $ORK_PARALLEL_COUNT counts" >&2
n=$(grep -o '"[a-z]"' | wc -l)
echo "\"$((n)) $WORD $1\""
