// Package output keeps the folder whose files the host takes as a program's results.
package output

import (
	"fmt"
	"os"
	"syscall"

	"emberbox.dev/agent/internal/identity"
)

const (
	name       = "/output"
	folderMode = 0o755
	// variable names the folder to programs.
	variable = "EMBERBOX_OUTPUT"
)

// Folder is the path of the output folder; "" where there is none.
type Folder string

// In returns the output folder of a work folder.
func In(work string) Folder { return Folder(work + name) }

// Variable is the entry of a program's environment that tells where the folder is.
func (f Folder) Variable() string { return variable + "=" + string(f) }

// Make makes the folder for a user; one that is there stays as it is.
func (f Folder) Make(user identity.User) error {
	path := string(f)
	if err := os.Mkdir(path, folderMode); err != nil {
		if os.IsExist(err) {
			return nil
		}
		return fmt.Errorf("cannot make the output folder: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, int(user.ID), int(user.Group))
}

// Used tells whether anything lies in the folder. What a program put in its place, such as a link, is no folder and holds nothing.
func (f Folder) Used() bool {
	if f == "" {
		return false
	}
	const flags = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	fd, err := syscall.Open(string(f), flags, 0)
	if err != nil {
		return false
	}
	defer syscall.Close(fd)
	var buffer [512]byte
	for {
		n, err := syscall.ReadDirent(fd, buffer[:])
		if err != nil || n <= 0 {
			return false
		}
		if _, count, _ := syscall.ParseDirent(buffer[:n], 1, nil); count > 0 {
			return true
		}
	}
}
