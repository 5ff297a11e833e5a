package port

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/poll"
)

const (
	portsFolder  = "/sys/class/virtio-ports"
	portDeadline = 10 * time.Second
	portPoll     = time.Millisecond
)

var errHostGone = errors.New("no host is connected to the port")

// Virtio is a virtio-serial port.
type Virtio struct{ fd int }

// OpenVirtio waits, at most ten seconds, for the port of that name and opens it.
func OpenVirtio(name string) (*Virtio, error) {
	for end := time.Now().Add(portDeadline); ; time.Sleep(portPoll) {
		if device, ok := findVirtio(name); ok {
			fd, err := syscall.Open("/dev/"+device, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
			if err == nil {
				return &Virtio{fd}, nil
			}
			if !errors.Is(err, syscall.ENOENT) {
				return nil, fmt.Errorf("cannot open /dev/%s: %w", device, err)
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("there is no virtio-serial port named %s", name)
		}
	}
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
func (v *Virtio) Accept(greeting []byte) (io.ReadWriteCloser, error) {
	if err := syscall.SetNonblock(v.fd, false); err != nil {
		return nil, err
	}
	for len(greeting) > 0 {
		n, err := syscall.Write(v.fd, greeting)
		if err != nil && !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		greeting = greeting[max(n, 0):]
	}
	if err := syscall.SetNonblock(v.fd, true); err != nil {
		return nil, err
	}
	return &virtioLink{v.fd}, nil
}

type virtioLink struct{ fd int }

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
	written := 0
	for written < len(p) {
		n, err := syscall.Write(l.fd, p[written:])
		if n > 0 {
			written += n
			continue
		}
		if err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
			return written, err
		}
		events, err := poll.One(l.fd, poll.Out, poll.Forever)
		if err != nil {
			return written, err
		}
		if events&(poll.Hup|poll.Err) != 0 {
			return written, errHostGone
		}
	}
	return written, nil
}

func (l *virtioLink) Close() error { return nil }
