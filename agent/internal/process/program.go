package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"emberbox.dev/agent/internal/identity"
)

// Program is what a run starts.
type Program struct {
	Argv   []string
	Env    []string // complete
	Added  []string // what of Env the request brought
	Dir    string
	User   identity.User
	Input  bool // false: standard input is /dev/null
	Limits Limits
	Script *Script // what a waiting interpreter would run; nil where none may
	Usual  bool    // whether its user is the one that waiting programs have
	Traced bool    // whether the thread that starts it traces it
}

// Script is a program in the words of a waiting interpreter.
type Script struct {
	Path string
	Args []string
}

// StartError says why a program could not be started.
type StartError struct {
	Errno   syscall.Errno
	Message string
}

func (e *StartError) Error() string { return e.Message }

// ErrnoName returns the symbol of the error, such as "ENOENT".
func (e *StartError) ErrnoName() string {
	if name, ok := errnoNames[e.Errno]; ok {
		return name
	}
	return e.Errno.Error()
}

var errnoNames = map[syscall.Errno]string{
	syscall.ENOENT: "ENOENT", syscall.EACCES: "EACCES", syscall.EPERM: "EPERM", syscall.ENOEXEC: "ENOEXEC", syscall.E2BIG: "E2BIG",
	syscall.ENOTDIR: "ENOTDIR", syscall.EISDIR: "EISDIR", syscall.ELOOP: "ELOOP", syscall.ENOMEM: "ENOMEM", syscall.EAGAIN: "EAGAIN",
	syscall.ETXTBSY: "ETXTBSY", syscall.ENAMETOOLONG: "ENAMETOOLONG", syscall.EINVAL: "EINVAL", syscall.EMFILE: "EMFILE",
	syscall.ENFILE: "ENFILE", syscall.EIO: "EIO", syscall.EBUSY: "EBUSY",
}

func startError(subject string, err error) *StartError {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		errno = syscall.EIO
	}
	return &StartError{errno, subject + ": " + errno.Error()}
}

// find returns the path of the program's file, searching its own PATH as execvp does.
func (p *Program) find() (string, error) {
	name := p.Argv[0]
	if name == "" || strings.ContainsRune(name, '/') {
		return name, nil
	}
	failed := syscall.ENOENT
	for _, folder := range filepath.SplitList(lookup(p.Env, "PATH")) {
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(p.Dir, folder)
		}
		path := folder + "/" + name
		var stat syscall.Stat_t
		if syscall.Stat(path, &stat) != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFREG {
			continue
		}
		if stat.Mode&0o111 != 0 {
			return path, nil
		}
		failed = syscall.EACCES
	}
	return "", startError(name, failed)
}

func lookup(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// explain tells a missing working folder from a missing program, which the kernel does not.
func (p *Program) explain(err error) *StartError {
	if info, bad := os.Stat(p.Dir); bad != nil {
		return startError("the working folder "+p.Dir, bad)
	} else if !info.IsDir() {
		return startError("the working folder "+p.Dir, syscall.ENOTDIR)
	}
	failure := startError(p.Argv[0], err)
	if failure.Errno == syscall.ENOENT && strings.ContainsRune(p.Argv[0], '/') {
		failure.Message += " (or its interpreter is missing)"
	}
	return failure
}
