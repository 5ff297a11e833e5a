#!/bin/sh
# From upload to result with curl alone.
#
# EMBERBOX_SERVER=http://127.0.0.1:8470 EMBERBOX_API_KEY=ember_... examples/service_curl.sh
set -eu

server=${EMBERBOX_SERVER:-http://127.0.0.1:8470}
key=${EMBERBOX_API_KEY:?set it to an API key}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The key goes by a file that is ours alone: arguments of programs can be seen by everybody on the machine.
(umask 077 && printf 'header = "Authorization: Bearer %s"\n' "$key" > "$folder/key")
call() { curl --silent --show-error --fail-with-body --config "$folder/key" "$@"; }
# Answers are JSON; this takes one field out of an answer. With jq: jq -r .id
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

printf 'for word in "$@"; do echo "$word"; sleep 0.1; done\ndate > when.txt\n' > "$folder/words.sh"

echo "== upload"
script=$(call -F "file=@$folder/words.sh" "$server/v1/scripts" | field id)
echo "$script"

echo "== run; the Idempotency-Key makes it safe to repeat"
job=$(call -X POST "$server/v1/scripts/$script/run" -H 'Content-Type: application/json' -H "Idempotency-Key: example-$script" \
  -d '{"args": ["ember", "box"], "artifacts": ["*.txt"]}' | field id)
echo "$job"

echo "== follow its output until it has ended, as text"
call --no-buffer "$server/v1/jobs/$job/logs?follow=true&format=text"

echo "== the result"
call "$server/v1/jobs/$job?wait=30" | field status
artifact=$(call "$server/v1/jobs/$job/artifacts" | python3 -c 'import json, sys; print(json.load(sys.stdin)["items"][0]["id"])')
call "$server/v1/jobs/$job/artifacts/$artifact"

echo "== in one request: run, and wait for the result"
call -X POST "$server/v1/jobs?wait=30" -H 'Content-Type: application/json' -d '{"runtime": "python", "code": "print(6 * 7)"}' | field stdout

echo "== clean up"
call -X DELETE "$server/v1/jobs/$job"
call -X DELETE "$server/v1/scripts/$script"
