// Package proxy lets programs of a guest without a network reach the host's proxy: it listens on the guest's loopback and carries each
// connection over its own standard input and output, as spec/proxy-link.md tells.
package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Address is where the programs of the guest find the proxy.
const Address = "127.0.0.1:3128"

// most is how many connections are open at once; more wait in the kernel's queue.
const most = 64

type link struct {
	writing sync.Mutex
	out     io.Writer

	mu          sync.Mutex
	connections map[uint32]*connection
	places      chan struct{}
}

// Serve carries the connections that listener takes until the host ends in, or breaks the rules.
func Serve(listener net.Listener, in io.Reader, out io.Writer) error {
	l := &link{out: out, connections: map[uint32]*connection{}, places: make(chan struct{}, most)}
	if err := l.send(0, kindHello, []byte(greeting)); err != nil {
		return err
	}
	go l.accept(listener)
	err := l.receive(in)
	_ = listener.Close()
	l.closeAll()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (l *link) send(connection uint32, kind byte, payload []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.out.Write(encode(connection, kind, payload))
	return err
}

func (l *link) accept(listener net.Listener) {
	for number := uint32(1); ; number++ {
		l.places <- struct{}{}
		stream, err := listener.Accept()
		if err != nil {
			return
		}
		c := newConnection(l, number, stream)
		l.mu.Lock()
		l.connections[number] = c
		l.mu.Unlock()
		if l.send(number, kindOpen, nil) != nil {
			return
		}
		go c.run()
	}
}

func (l *link) receive(in io.Reader) error {
	for {
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		l.mu.Lock()
		c := l.connections[f.connection]
		l.mu.Unlock()
		if c == nil {
			continue // it crossed with the connection's end
		}
		if err := c.take(f); err != nil {
			return err
		}
	}
}

func (l *link) forget(number uint32) {
	l.mu.Lock()
	_, known := l.connections[number]
	delete(l.connections, number)
	l.mu.Unlock()
	if known {
		<-l.places
	}
}

func (l *link) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.connections {
		_ = c.stream.Close()
	}
}

func (c *connection) take(f frame) error {
	switch f.kind {
	case kindData:
		return c.queue(f.payload)
	case kindCredit:
		return c.grant(int64(binary.BigEndian.Uint32(f.payload)))
	case kindEnd:
		c.finish()
	case kindReset:
		c.reset()
	}
	return nil
}

func violation(connection uint32, what string) error {
	return fmt.Errorf("the host sent %s on connection %d", what, connection)
}
