package boot

import (
	"os"
	"syscall"
	"unsafe"
)

// interfaceRequest is the kernel's struct ifreq with flags.
type interfaceRequest struct {
	name  [16]byte
	flags int16
	_     [22]byte
}

// loopbackUp gives programs 127.0.0.1, which they have even without a network.
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = syscall.Close(fd) }()
	request := interfaceRequest{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("cannot bring up the loopback interface", errno)
	}
	return nil
}
