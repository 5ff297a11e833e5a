# Runs the usual tools once, so that a template's page cache holds them.
set -u
folder=$(mktemp -d)
cd "$folder" || exit 1
printf 'b 2\na 1\nc 3\n' > rows
sort rows | uniq -c | awk '{ print $2 }' | sed 's/a/A/' | tr a-z A-Z | grep -c . | cat
cut -d' ' -f1 rows | head -n 1 | tail -n 1 | wc -c
find . -type f -name rows | xargs -n 1 basename
diff rows rows && ls -l > listing && cp rows copy && mv copy moved && rm moved
tar -czf all.tar.gz rows && tar -tzf all.tar.gz
echo '2 ^ 10' | bc
echo '{"a": [1, 2]}' | jq -c '.a | add'
date -u +%s > /dev/null; sleep 0; seq 3 | paste -sd+ ; env > /dev/null; file rows
cd / && rm -r "$folder"
