package port

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/poll"
)

const (
	portsFolder  = "/sys/class/virtio-ports"
	portDeadline = 10 * time.Second
	portPoll     = time.Millisecond
	// writePoll is how soon a write that waits for room sees that its link was closed.
	writePoll = 100 * time.Millisecond
)

var errHostGone = errors.New("no host is connected to the port")

// Virtio is a virtio-serial port.
type Virtio struct {
	path string
	link *virtioLink
}

// OpenVirtio waits, at most ten seconds, for the port of that name and opens it.
func OpenVirtio(name string) (*Virtio, error) {
	for end := time.Now().Add(portDeadline); ; time.Sleep(portPoll) {
		if device, ok := findVirtio(name); ok {
			link, err := openVirtio("/dev/" + device)
			if err == nil {
				return &Virtio{"/dev/" + device, link}, nil
			}
			if !errors.Is(err, syscall.ENOENT) {
				return nil, err
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("there is no virtio-serial port named %s", name)
		}
	}
}

// reopenVirtio waits for programs that are just being started: until they are, they hold what the agent has closed.
func reopenVirtio(path string) (*virtioLink, error) {
	for end := time.Now().Add(portDeadline); ; time.Sleep(portPoll) {
		link, err := openVirtio(path)
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return link, err
		}
	}
}

func openVirtio(path string) (*virtioLink, error) {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return &virtioLink{fd: fd}, nil
}

func findVirtio(name string) (device string, ok bool) {
	entries, err := os.ReadDir(portsFolder)
	if err != nil {
		return "", false
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(portsFolder, entry.Name(), "name"))
		if err == nil && strings.TrimSpace(string(text)) == name {
			return entry.Name(), true
		}
	}
	return "", false
}

// Accept implements Port.
//
// A blocking write to a virtio-serial port sleeps until a host is connected, so the greeting is what waits. For the session itself the port
// does not block: a write that slept over a change of hosts would give the new one the rest of an old frame.
//
// The port is opened anew for each host after the first. That throws away what the last one left unread, and it tells the VMM that this
// one's going was noticed: a machine is frozen only then (spec/guest-protocol.md, section 2, Clones).
func (v *Virtio) Accept(greeting []byte) (io.ReadWriteCloser, error) {
	link := v.link
	v.link = nil
	if link == nil {
		var err error
		if link, err = reopenVirtio(v.path); err != nil {
			return nil, err
		}
	}
	if err := link.greet(greeting); err != nil {
		return nil, err
	}
	return link, nil
}

// virtioLink is the open port. It is one host's: a goroutine that still writes for a host that has gone does not reach the next one.
type virtioLink struct {
	fd     int
	writes sync.Mutex
	closed atomic.Bool
}

func (l *virtioLink) greet(greeting []byte) error {
	if err := syscall.SetNonblock(l.fd, false); err != nil {
		return err
	}
	for len(greeting) > 0 {
		n, err := syscall.Write(l.fd, greeting)
		if err != nil && !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
		greeting = greeting[max(n, 0):]
	}
	return syscall.SetNonblock(l.fd, true)
}

func (l *virtioLink) Read(p []byte) (int, error) {
	for {
		events, err := poll.One(l.fd, poll.In, poll.Forever)
		if err != nil {
			return 0, err
		}
		n, err := syscall.Read(l.fd, p)
		switch {
		case n > 0:
			return n, nil
		case err == nil || events&poll.Hup != 0:
			return 0, io.EOF
		case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		default:
			return 0, err
		}
	}
}

func (l *virtioLink) Write(p []byte) (int, error) {
	l.writes.Lock()
	defer l.writes.Unlock()
	written := 0
	for written < len(p) && !l.closed.Load() {
		n, err := syscall.Write(l.fd, p[written:])
		if n > 0 {
			written += n
			continue
		}
		if err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
			return written, err
		}
		events, err := poll.One(l.fd, poll.Out, writePoll)
		if err != nil {
			return written, err
		}
		if events&(poll.Hup|poll.Err) != 0 {
			return written, errHostGone
		}
	}
	if written < len(p) {
		return written, errHostGone
	}
	return written, nil
}

// Close waits for a write that is under way, so that none is left that would go to whatever the descriptor's number names next.
func (l *virtioLink) Close() error {
	l.closed.Store(true)
	l.writes.Lock()
	defer l.writes.Unlock()
	return syscall.Close(l.fd)
}
