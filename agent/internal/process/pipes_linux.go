package process

import (
	"sync"
	"syscall"

	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/session"
)

const closed = -1

// Pipes are a program's standard streams: the program's ends and the agent's, which do not block.
type Pipes struct {
	theirs [3]int
	ours   [3]int
}

// OpenPipes makes a program's standard streams; without input its standard input is /dev/null. They belong to the program's user, who
// may so open them again by /dev/stdin and its like.
func OpenPipes(input bool, owner identity.User) (*Pipes, error) {
	p := &Pipes{[3]int{closed, closed, closed}, [3]int{closed, closed, closed}}
	for stream := range p.ours {
		if err := p.open(stream, input, owner); err != nil {
			p.CloseTheirs()
			p.CloseOurs()
			return nil, err
		}
	}
	return p, nil
}

func (p *Pipes) open(stream int, input bool, owner identity.User) error {
	if stream == session.Input && !input {
		fd, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		p.theirs[stream] = fd
		return err
	}
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	if stream == session.Input {
		ends[0], ends[1] = ends[1], ends[0]
	}
	p.ours[stream], p.theirs[stream] = ends[0], ends[1]
	_ = syscall.Fchown(ends[1], int(owner.ID), int(owner.Group)) // refused where the agent is not root, and has the program's user
	return syscall.SetNonblock(p.ours[stream], true)
}

// Theirs returns the program's ends.
func (p *Pipes) Theirs() []int { return p.theirs[:] }

// Errors returns the agent's end of standard error.
func (p *Pipes) Errors() int { return p.ours[session.Errors] }

// CloseInput lets the program see the end of its input.
func (p *Pipes) CloseInput() { shut(&p.ours[session.Input]) }

// CloseTheirs closes the program's ends in the agent, once the program has them.
func (p *Pipes) CloseTheirs() { closeAll(&p.theirs) }

// CloseOurs closes the agent's ends.
func (p *Pipes) CloseOurs() { closeAll(&p.ours) }

func closeAll(fds *[3]int) {
	for i := range fds {
		shut(&fds[i])
	}
}

func shut(fd *int) {
	if *fd != closed {
		_ = syscall.Close(*fd)
		*fd = closed
	}
}

// waker ends a sleep in poll from any goroutine, and does nothing once it is closed.
type waker struct {
	mu sync.Mutex
	fd int
}

func newWaker() (*waker, error) {
	const closeOnExec, nonBlocking = syscall.O_CLOEXEC, syscall.O_NONBLOCK
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, closeOnExec|nonBlocking, 0)
	if errno != 0 {
		return nil, errno
	}
	return &waker{fd: int(fd)}, nil
}

var one = [8]byte{1, 1, 1, 1, 1, 1, 1, 0} // a small number in either byte order

func (w *waker) wake() {
	w.mu.Lock()
	if w.fd != closed {
		_, _ = syscall.Write(w.fd, one[:])
	}
	w.mu.Unlock()
}

func (w *waker) clear() {
	var count [8]byte
	_, _ = syscall.Read(w.fd, count[:])
}

func (w *waker) close() {
	w.mu.Lock()
	shut(&w.fd)
	w.mu.Unlock()
}
