package port

import (
	"errors"
	"io"
	"os"
	"syscall"
	"unsafe"
)

const (
	familyVsock = 40
	anyContext  = 0xffffffff
)

// vsockAddress is the kernel's struct sockaddr_vm.
type vsockAddress struct {
	family   uint16
	reserved uint16
	port     uint32
	context  uint32
	flags    uint8
	zero     [3]uint8
}

// Vsock is a listening vsock socket. It survives a snapshot; its connections do not.
type Vsock struct{ fd int }

// ListenVsock listens on a port for the host.
func ListenVsock(port uint32) (*Vsock, error) {
	fd, err := syscall.Socket(familyVsock, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	address := vsockAddress{family: familyVsock, port: port, context: anyContext}
	if _, _, errno := syscall.Syscall(syscall.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address)); errno != 0 {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("bind", errno)
	}
	if err := syscall.Listen(fd, 1); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("listen", err)
	}
	return &Vsock{fd}, nil
}

// Accept implements Port.
func (v *Vsock) Accept(greeting []byte) (io.ReadWriteCloser, error) {
	for {
		fd, _, errno := syscall.Syscall6(syscall.SYS_ACCEPT4, uintptr(v.fd), 0, 0, syscall.SOCK_CLOEXEC, 0, 0)
		if errors.Is(errno, syscall.EINTR) || errors.Is(errno, syscall.ECONNABORTED) {
			continue
		}
		if errno != 0 {
			return nil, os.NewSyscallError("accept", errno)
		}
		link := os.NewFile(fd, "vsock")
		if _, err := link.Write(greeting); err != nil {
			_ = link.Close()
			continue
		}
		return streamLink{link}, nil
	}
}
