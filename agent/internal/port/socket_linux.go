package port

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// streamLink takes a connection that was reset for one that was closed.
type streamLink struct{ io.ReadWriteCloser }

func (l streamLink) Read(p []byte) (int, error) {
	n, err := l.ReadWriteCloser.Read(p)
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

// Once is a port with one host that is there already; after it, Accept returns io.EOF.
type Once struct{ link io.ReadWriteCloser }

// NewOnce returns a port whose only host is at the other end of link.
func NewOnce(link io.ReadWriteCloser) *Once { return &Once{link} }

// Accept implements Port.
func (o *Once) Accept(greeting []byte) (io.ReadWriteCloser, error) {
	link := o.link
	if link == nil {
		return nil, io.EOF
	}
	o.link = nil
	if _, err := link.Write(greeting); err != nil {
		return nil, err
	}
	return streamLink{link}, nil
}

type pair struct {
	io.Reader
	io.Writer
}

func (pair) Close() error { return nil }

// Standard returns a port whose only host is at standard input and output.
func Standard() *Once { return NewOnce(pair{os.Stdin, os.Stdout}) }

// Dial returns a port whose only host listens on a Unix socket.
func Dial(path string) (*Once, error) {
	link, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return NewOnce(link), nil
}

// Listener is a Unix socket that takes hosts one after another, as QEMU's character devices do.
type Listener struct{ listener net.Listener }

// Listen makes the socket, which must not exist.
func Listen(path string) (*Listener, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return &Listener{listener}, nil
}

// Accept implements Port.
func (l *Listener) Accept(greeting []byte) (io.ReadWriteCloser, error) {
	for {
		link, err := l.listener.Accept()
		if err != nil {
			return nil, err
		}
		if _, err := link.Write(greeting); err != nil {
			_ = link.Close()
			continue
		}
		return streamLink{link}, nil
	}
}
