// Package failure holds the errors that a RESULT names by a code of the guest protocol.
package failure

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// Failure is an error with a code of the protocol and a message for people.
type Failure struct {
	Code    string
	Message string
}

func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// New returns a failure.
func New(code, message string) *Failure { return &Failure{code, message} }

// BadRequest says that a request's fields are wrong.
func BadRequest(message string) *Failure { return New("bad_request", message) }

// Cancelled is the end of work that the host cancelled.
var Cancelled = New("cancelled", "the host cancelled the request")

var codes = []struct {
	errno syscall.Errno
	code  string
}{
	{syscall.ENOENT, "not_found"},
	{syscall.EEXIST, "exists"},
	{syscall.ENOTEMPTY, "exists"},
	{syscall.ENOTDIR, "not_a_directory"},
	{syscall.EISDIR, "is_a_directory"},
	{syscall.EACCES, "denied"},
	{syscall.EPERM, "denied"},
	{syscall.EROFS, "denied"},
	{syscall.ENOSPC, "no_space"},
	{syscall.EDQUOT, "no_space"},
	{syscall.EFBIG, "too_large"},
	{syscall.ENAMETOOLONG, "bad_request"},
	{syscall.ELOOP, "bad_request"},
	{syscall.EINVAL, "bad_request"},
	{syscall.EBUSY, "busy"},
	{syscall.ETXTBSY, "busy"},
	{syscall.EOPNOTSUPP, "unsupported"},
	{syscall.ENOSYS, "unsupported"},
}

// Of turns any error into a failure; nil stays nil.
func Of(err error) *Failure {
	if err == nil {
		return nil
	}
	var known *Failure
	if errors.As(err, &known) {
		return known
	}
	if Escapes(err) {
		return New("outside_folder", err.Error())
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		for _, c := range codes {
			if c.errno == errno {
				return New(c.code, text(err))
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return New("not_found", text(err))
	}
	return New("internal", err.Error())
}

// Escapes tells whether os.Root refused a path because it leads out of its folder; the package exports no error for it.
func Escapes(err error) bool {
	return err != nil && strings.Contains(err.Error(), "path escapes from parent")
}

func text(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Path + ": " + path.Err.Error()
	}
	return err.Error()
}
