package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// connection is one program's connection to the proxy. Up leads to the host, down comes from it.
type connection struct {
	link   *link
	number uint32
	stream net.Conn

	mu      sync.Mutex
	changed *sync.Cond
	credit  int64    // how much may go up
	waiting [][]byte // what came down and is not written yet
	held    int      // bytes that came down and were not granted anew
	ended   bool     // nothing more comes down
	gone    bool     // it was reset
}

func newConnection(l *link, number uint32, stream net.Conn) *connection {
	c := &connection{link: l, number: number, stream: stream, credit: window}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// run carries both directions and returns when the connection is over.
func (c *connection) run() {
	var both sync.WaitGroup
	both.Go(func() { c.conclude(c.up()) })
	both.Go(func() { c.conclude(c.down()) })
	both.Wait()
	_ = c.stream.Close()
	c.link.forget(c.number)
}

var errReset = errors.New("the connection was reset")

// conclude tells the host of a failure, once.
func (c *connection) conclude(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	first := !c.gone
	c.gone = true
	c.changed.Broadcast()
	c.mu.Unlock()
	_ = c.stream.Close()
	if first {
		_ = c.link.send(c.number, kindReset, nil)
	}
}

func (c *connection) up() error {
	buffer := make([]byte, payloadBytes)
	for {
		room, err := c.room()
		if err != nil {
			return err
		}
		n, err := c.stream.Read(buffer[:min(room, payloadBytes)])
		if n > 0 {
			c.mu.Lock()
			c.credit -= int64(n)
			c.mu.Unlock()
			if err := c.link.send(c.number, kindData, buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return c.link.send(c.number, kindEnd, nil)
		}
		if err != nil {
			return err
		}
	}
}

// room waits for credit.
func (c *connection) room() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.credit == 0 && !c.gone {
		c.changed.Wait()
	}
	if c.gone {
		return 0, errReset
	}
	return c.credit, nil
}

func (c *connection) down() error {
	for {
		data, err := c.next()
		if err != nil {
			return err
		}
		if data == nil {
			if half, ok := c.stream.(interface{ CloseWrite() error }); ok {
				return half.CloseWrite()
			}
			return nil
		}
		if _, err := c.stream.Write(data); err != nil {
			return err
		}
		c.mu.Lock()
		c.held -= len(data)
		c.mu.Unlock()
		if err := c.link.send(c.number, kindCredit, binary.BigEndian.AppendUint32(nil, uint32(len(data)))); err != nil {
			return err
		}
	}
}

// next waits for what is to be written; nil at the end.
func (c *connection) next() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) == 0 && !c.ended && !c.gone {
		c.changed.Wait()
	}
	if c.gone {
		return nil, errReset
	}
	if len(c.waiting) == 0 {
		return nil, nil
	}
	data := c.waiting[0]
	c.waiting = c.waiting[1:]
	return data, nil
}

func (c *connection) queue(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil
	}
	if c.ended {
		return violation(c.number, "data after the end")
	}
	if c.held += len(data); c.held > window {
		return violation(c.number, "more than its credit")
	}
	c.waiting = append(c.waiting, data)
	c.changed.Broadcast()
	return nil
}

func (c *connection) grant(bytes int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.credit += bytes; c.credit > window {
		return violation(c.number, "too much credit")
	}
	c.changed.Broadcast()
	return nil
}

func (c *connection) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.changed.Broadcast()
}

// reset ends both directions at once; the stream's end wakes whoever reads or writes it.
func (c *connection) reset() {
	c.mu.Lock()
	c.gone = true
	c.changed.Broadcast()
	c.mu.Unlock()
	_ = c.stream.Close()
}
