package trace

// pathArgument is which argument of a system call names a file.
var pathArgument = map[uint64]int{
	2: 0, 4: 0, 6: 0, 21: 0, 89: 0, // open, stat, lstat, access, readlink
	257: 1, 262: 1, 267: 1, 269: 1, // openat, newfstatat, readlinkat, faccessat
	332: 1, 437: 1, 439: 1, // statx, openat2, faccessat2
}

var opening = map[uint64]bool{2: true, 257: true, 437: true}

// reading are calls whose first argument is a file that they read or look at: read, fstat, lseek, pread64, readv, newfstatat, statx.
var reading = map[uint64]bool{0: true, 5: true, 8: true, 17: true, 19: true, 262: true, 332: true}

const mapping = 9 // mmap
