package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/identity"
)

// Stat describes what a path leads to; a link that leads nowhere is described itself.
func Stat(user identity.User, path string) (info os.FileInfo, err error) {
	err = user.Act(func() error {
		if info, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if info, err = os.Lstat(path); err != nil {
				return err
			}
		}
		return err
	})
	return info, err
}

// MakeDirectory makes a folder; with parents, those that are missing too, and one that exists already is no error.
func MakeDirectory(user identity.User, path string, parents bool, mode uint32) error {
	return user.Act(func() error {
		if parents {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				return nil
			}
			if err := os.MkdirAll(path, folderMode); err != nil {
				return err
			}
		} else if err := os.Mkdir(path, fs.FileMode(mode&permissions)); err != nil {
			return err
		}
		if err := syscall.Chmod(path, mode&permissions); err != nil {
			return &os.PathError{Op: "chmod", Path: path, Err: err}
		}
		return nil
	})
}

// Delete removes a file, a link or an empty folder; with recursive, a folder and all in it.
func Delete(user identity.User, path string, recursive, missingOK bool) error {
	if path == "/" {
		return failure.New("denied", "the root folder cannot be deleted")
	}
	err := user.Act(func() error {
		if !recursive {
			return os.Remove(path)
		}
		if _, err := os.Lstat(path); err != nil {
			return err
		}
		return os.RemoveAll(path)
	})
	if missingOK && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
