#!/bin/bash
# Counts the most frequent words of what comes in.
#
#   emberbox run examples/word_count.sh -- 5 < LICENSE
set -euo pipefail

most=${1:-10}
tr -cs '[:alpha:]' '\n' | tr '[:upper:]' '[:lower:]' | grep -v '^$' | sort | uniq -c | sort -rn | sed -n "1,${most}p"
