# One line for each source of chance: awk's own generator begins with the same number in every process, and srand() takes the second.
BEGIN {
    command = "od -An -N8 -tx8 /dev/urandom"
    command | getline seed
    close(command)
    print seed
    srand(strtonum("0x" substr(seed, 3, 8)))
    printf "%.17g %.17g\n", rand(), rand()
}
