package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"emberbox.dev/agent/internal/identity"
)

const (
	folderMode  = 0o755
	permissions = 0o777
	copyBuffer  = 32768
)

// WriteOptions says how a file is written.
type WriteOptions struct {
	Mode    uint32
	Append  bool
	Parents bool
}

// Create opens a file for writing as that user, with exactly that mode where it is new or not appended to. A directory is an error.
func Create(user identity.User, path string, o WriteOptions) (file *os.File, err error) {
	err = user.Act(func() error {
		file, err = create(path, o)
		if o.Parents && errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
				return err
			}
			file, err = create(path, o)
		}
		return err
	})
	return file, err
}

func create(path string, o WriteOptions) (*os.File, error) {
	// Without O_NONBLOCK, a FIFO that nobody reads would hold the request for ever.
	flags := syscall.O_WRONLY | syscall.O_CREAT | syscall.O_CLOEXEC | syscall.O_NONBLOCK
	if o.Append {
		flags |= syscall.O_APPEND
	} else {
		flags |= syscall.O_TRUNC
	}
	mode := o.Mode & permissions
	fd, err := syscall.Open(path, flags, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err == nil && stat.Mode&syscall.S_IFMT != syscall.S_IFREG {
		_ = syscall.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EINVAL}
	}
	if stat.Mode&permissions != mode && (!o.Append || stat.Size == 0) {
		_ = syscall.Fchmod(fd, mode) // a file of another owner keeps its mode
	}
	_ = syscall.SetNonblock(fd, false)
	return os.NewFile(uintptr(fd), path), nil
}

// WriteAll writes a small file at once.
func WriteAll(user identity.User, path string, data []byte, o WriteOptions) error {
	file, err := Create(user, path, o)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// Upload writes a file from a stream and returns its size.
func Upload(user identity.User, path string, source io.Reader, o WriteOptions) (size int64, err error) {
	file, err := Create(user, path, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := copyAll(file, source); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// copyAll copies without the shortcuts of io.Copy, which are of no use here.
func copyAll(target io.Writer, source io.Reader) (int64, error) {
	buffer := make([]byte, copyBuffer)
	var total int64
	for {
		n, err := source.Read(buffer)
		if n > 0 {
			if _, err := target.Write(buffer[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
