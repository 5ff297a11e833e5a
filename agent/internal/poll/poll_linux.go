// Package poll waits for descriptors on the calling thread, without the runtime's poller.
package poll

import (
	"syscall"
	"time"
	"unsafe"
)

// The events of poll(2).
const (
	In  = 0x1
	Out = 0x4
	Err = 0x8
	Hup = 0x10
)

// Forever is a timeout that never comes.
const Forever = time.Duration(-1)

// FD is the kernel's struct pollfd. A negative descriptor is passed over.
type FD struct {
	FD     int32
	Events int16
	Got    int16
}

// Wait sleeps until an event has come or the timeout is over; ready is how many descriptors have events.
func Wait(fds []FD, timeout time.Duration) (ready int, err error) {
	var limit *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(int64(timeout))
		limit = &t
	}
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)),
			uintptr(unsafe.Pointer(limit)), 0, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// One waits for a single descriptor; 0 stands for a timeout.
func One(fd int, events int16, timeout time.Duration) (got int16, err error) {
	fds := [1]FD{{FD: int32(fd), Events: events}}
	_, err = Wait(fds[:], timeout)
	return fds[0].Got, err
}
