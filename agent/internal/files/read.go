package files

import (
	"io"
	"os"
	"syscall"

	"emberbox.dev/agent/internal/identity"
)

// Open opens a regular file for reading as that user.
func Open(user identity.User, path string) (file *os.File, info os.FileInfo, err error) {
	err = user.Act(func() error {
		file, info, err = open(path)
		return err
	})
	return file, info, err
}

func open(path string) (*os.File, os.FileInfo, error) {
	// O_NONBLOCK lets the open of a FIFO or a device return.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	_ = syscall.SetNonblock(fd, false)
	file := os.NewFile(uintptr(fd), path)
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = &os.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	}
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: syscall.EINVAL}
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// Unbounded is a limit that reads to the file's end.
const Unbounded = -1

// Download sends at most limit bytes of a file from an offset on.
func Download(file *os.File, offset, limit int64, target io.Writer) error {
	var source io.Reader = file
	if offset > 0 {
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			return err
		}
	}
	if limit != Unbounded {
		source = io.LimitReader(file, limit)
	}
	_, err := copyAll(target, source)
	return err
}
