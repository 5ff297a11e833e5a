package waiting

import (
	"errors"
	"os"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/poll"
)

const maxAnswer = 4096

var (
	errSilent = errors.New("the waiting interpreter does not answer")
	errEnded  = errors.New("the waiting interpreter has ended")
)

// socket is one end of a pair that carries whole messages.
type socket struct{ fd int }

func newPair() (ours, theirs *socket, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return &socket{fds[0]}, &socket{fds[1]}, nil
}

// send never waits: a peer that does not take its messages is broken.
func (s *socket) send(text []byte) error {
	_, err := syscall.SendmsgN(s.fd, text, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	return os.NewSyscallError("sendmsg", err)
}

func (s *socket) receive(bound time.Duration) (string, error) {
	got, err := poll.One(s.fd, poll.In, bound)
	if err != nil {
		return "", err
	}
	if got == 0 {
		return "", errSilent
	}
	buffer := make([]byte, maxAnswer)
	// Descriptors that a peer might send along are not taken: without room for them the kernel closes them.
	n, _, err := syscall.Recvfrom(s.fd, buffer, syscall.MSG_DONTWAIT)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return "", os.NewSyscallError("recv", err)
	}
	if n <= 0 {
		return "", errEnded
	}
	return string(buffer[:n]), nil
}

func (s *socket) close() {
	if s.fd >= 0 {
		_ = syscall.Close(s.fd)
		s.fd = -1
	}
}
