package trace

// pathArgument is which argument of a system call names a file.
var pathArgument = map[uint64]int{
	56: 1, 79: 1, 78: 1, 48: 1, // openat, newfstatat, readlinkat, faccessat
	291: 1, 437: 1, 439: 1, // statx, openat2, faccessat2
}

var opening = map[uint64]bool{56: true, 437: true}

// reading are calls whose first argument is a file that they read or look at: read, fstat, lseek, pread64, readv, newfstatat, statx.
var reading = map[uint64]bool{63: true, 80: true, 62: true, 67: true, 65: true, 79: true, 291: true}

const mapping = 222 // mmap
