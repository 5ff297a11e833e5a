# rand() starts the same in every run by definition, and srand() takes the second of the day: chance comes from the system.
BEGIN {
    command = "od -An -N16 -tx8 /dev/urandom"
    command | getline line
    close(command)
    print line
}
