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
	// waitingHosts may be connected while another is served: the next one, and those that gave up meanwhile.
	waitingHosts = 16
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
	if err := syscall.Listen(fd, waitingHosts); err != nil {
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
		link := &vsockLink{int(fd), os.NewFile(fd, "vsock")}
		if _, err := link.Write(greeting); err != nil {
			_ = link.Close()
			continue
		}
		return link, nil
	}
}

// vsockLink is a connection with a host. Its descriptor blocks: a read wakes no other thread.
type vsockLink struct {
	fd   int
	file *os.File
}

// Read takes a connection that a restore has cut for one that was closed: whoever reads just then sees a reset, and who comes later that
// there is no connection.
func (l *vsockLink) Read(p []byte) (int, error) {
	n, err := l.file.Read(p)
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ENOTCONN) {
		err = io.EOF
	}
	return n, err
}

func (l *vsockLink) Write(p []byte) (int, error) { return l.file.Write(p) }

// Close also wakes a write that waits for a host that does not read.
func (l *vsockLink) Close() error {
	_ = syscall.Shutdown(l.fd, syscall.SHUT_RDWR)
	return l.file.Close()
}
