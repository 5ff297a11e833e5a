# Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
{
    for (i = 1; i <= NF; i++) {
        numbers[++count] = $i + 0
        sum += $i
    }
}

END {
    asort(numbers)
    for (i = 1; i <= count; i++)
        printf "%s%d", (i > 1 ? " " : ""), numbers[i]
    printf "\nsum %d\n", sum
    printf "%d\n", sum > "sum.txt"
    exit 3
}
