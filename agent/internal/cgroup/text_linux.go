package cgroup

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// put writes to a control file with the fewest system calls.
func put(path, text string) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	_, err = syscall.Write(fd, []byte(text))
	_ = syscall.Close(fd)
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// get reads the start of a control file; "" where it cannot be read.
func get(path string, buffer []byte) string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	n, _ := syscall.Read(fd, buffer)
	_ = syscall.Close(fd)
	return string(buffer[:max(n, 0)])
}

func number(path string) int64 {
	var buffer [32]byte
	n, _ := strconv.ParseInt(strings.TrimSpace(get(path, buffer[:])), 10, 64)
	return n
}

// field returns the number behind a name in text of the form "name number\n…"; 0 where there is none.
func field(text, name string) int64 {
	for len(text) > 0 {
		line, rest, _ := strings.Cut(text, "\n")
		if key, value, ok := strings.Cut(line, " "); ok && key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
		text = rest
	}
	return 0
}
