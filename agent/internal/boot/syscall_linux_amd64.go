package boot

// finitModule is missing from the syscall package's frozen table.
const finitModule = 313
