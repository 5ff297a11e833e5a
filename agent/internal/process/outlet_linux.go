package process

import (
	"errors"
	"syscall"

	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/session"
)

// outlet moves one output stream of a program to the host.
type outlet struct {
	stream int
	fd     *int
	keep   int64 // bytes that may still be sent; Unlimited for all
	count  int64
}

// room is how much may be read now, and whether it is to be sent. 0: the host has to grant credit first, and the program waits.
func (o *outlet) room(call *session.Call) (size int, send bool) {
	if o.keep == 0 {
		return frame.MaxData, false
	}
	size = min(call.Credit(o.stream), frame.MaxData)
	if o.keep != Unlimited {
		size = int(min(int64(size), o.keep))
	}
	return size, true
}

// pump reads once and passes on what came. It closes the pipe at its end.
func (o *outlet) pump(call *session.Call, buffer []byte) {
	size, send := o.room(call)
	if size == 0 {
		return
	}
	n, err := syscall.Read(*o.fd, buffer[frame.HeaderSize:frame.HeaderSize+size])
	if n <= 0 {
		if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
			shut(o.fd)
		}
		return
	}
	o.count += int64(n)
	if !send {
		return
	}
	if o.keep != Unlimited {
		o.keep -= int64(n)
	}
	if call.Send(o.stream, buffer[:frame.HeaderSize+n]) != nil {
		o.keep = 0
	}
}
