// Package clock sets what a clone must not share with its twins: time, entropy and name.
package clock

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

const (
	addEntropy = 0x40085203 // RNDADDENTROPY
	reseed     = 0x5207     // RNDRESEEDCRNG
	realtime   = 0          // CLOCK_REALTIME
	maxEntropy = 512
)

// Set sets the wall clock.
func Set(unixNanoseconds int64) error {
	t := syscall.NsecToTimespec(unixNanoseconds)
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_SETTIME, realtime, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return os.NewSyscallError("clock_settime", errno)
	}
	return nil
}

// Now returns the wall clock in nanoseconds.
func Now() int64 { return time.Now().UnixNano() }

// Stir credits fresh entropy to the kernel's generator and makes it reseed from it at once.
func Stir(entropy []byte) error {
	var pool struct {
		bits   int32
		size   int32
		buffer [maxEntropy]byte
	}
	pool.size = int32(copy(pool.buffer[:], entropy))
	pool.bits = pool.size * 8
	fd, err := syscall.Open("/dev/urandom", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/urandom", Err: err}
	}
	defer func() { _ = syscall.Close(fd) }()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), addEntropy, uintptr(unsafe.Pointer(&pool))); errno != 0 {
		return os.NewSyscallError("RNDADDENTROPY", errno)
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), reseed, 0); errno != 0 {
		return os.NewSyscallError("RNDRESEEDCRNG", errno)
	}
	return nil
}

// Name sets the machine's host name.
func Name(hostname string) error {
	return os.NewSyscallError("sethostname", syscall.Sethostname([]byte(hostname)))
}
