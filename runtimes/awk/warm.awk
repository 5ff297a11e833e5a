# Uses what programs use most, so that a template's page cache holds the interpreter.
BEGIN {
    count = split("warm the cache", words, /[[:space:]]+/)
    asort(words)
    printf "%s %.3f %s\n", toupper(words[1]), rand(), strftime("%Y", 0, 1)
    "echo sub process" | getline line
    close("echo sub process")
    print gensub(/(s)(u)/, "\\2\\1", "g", line), substr(line, 2, 3), length(line), count
    print "sorted" | "sort"
    close("sort")
}
