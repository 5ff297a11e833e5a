package session

import (
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/message"
)

// The streams of a channel.
const (
	Input  = 0
	Output = 1
	Errors = 2
)

// Command is a CONTROL frame that is not a cancellation.
type Command struct {
	// Kill asks for the end of the whole group; otherwise Signal is for the main process.
	Kill   bool
	Signal int
}

// Call is one request: its fields, its streams, and the way to its result. It is safe for use by several goroutines.
type Call struct {
	Request message.Object

	id       uint32
	session  *Session
	writer   *writer
	detached atomic.Bool

	mu        sync.Mutex
	changed   sync.Cond
	streams   [3]account
	chunks    [][]byte
	owed      uint32
	discard   bool
	cancelled bool
	commands  []Command
	wake      func()
}

func newCall(session *Session, id uint32, request message.Object) *Call {
	c := &Call{Request: request, id: id, session: session, writer: session.writer}
	c.changed.L = &c.mu
	for i := range c.streams {
		c.streams[i].credit = InitialCredit
	}
	return c
}

// OnChange sets a function that is called when credit, input, a command or the cancellation has come. It must not block.
func (c *Call) OnChange(wake func()) {
	c.mu.Lock()
	c.wake = wake
	c.mu.Unlock()
}

// notify is called with the lock held.
func (c *Call) notify() {
	c.changed.Broadcast()
	if c.wake != nil {
		c.wake()
	}
}

// Cancelled tells whether the host gave the request up.
func (c *Call) Cancelled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancelled
}

// Commands takes what the host asked for since the last call.
func (c *Call) Commands() []Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.commands
	c.commands = nil
	return taken
}

// Credit returns how many bytes may be sent on a stream now.
func (c *Call) Credit(stream int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.streams[stream].credit)
}

// Send sends the payload that lies in buffer behind frame.HeaderSize free bytes. It must fit the stream's credit.
func (c *Call) Send(stream int, buffer []byte) error {
	size := len(buffer) - frame.HeaderSize
	c.mu.Lock()
	err := c.streams[stream].spend(size, false)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	frame.Put(buffer, frame.Header{Length: uint32(size), Type: frame.Data, Flags: uint8(stream), Channel: c.id})
	return c.writer.send(c, buffer)
}

// Write sends all of data on stream 1, waiting for credit. The error is failure.Cancelled after a cancellation.
func (c *Call) Write(data []byte) (int, error) { return c.WriteTo(Output, data) }

// WriteTo is Write for any stream.
func (c *Call) WriteTo(stream int, data []byte) (int, error) {
	sent := 0
	var buffer []byte
	for sent < len(data) {
		room, err := c.awaitCredit(stream)
		if err != nil {
			return sent, err
		}
		n := min(room, frame.MaxData, len(data)-sent)
		buffer = append(append(buffer[:0], make([]byte, frame.HeaderSize)...), data[sent:sent+n]...)
		if err := c.Send(stream, buffer); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

func (c *Call) awaitCredit(stream int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.streams[stream].credit == 0 && !c.cancelled {
		c.changed.Wait()
	}
	if c.cancelled {
		return 0, failure.Cancelled
	}
	return int(c.streams[stream].credit), nil
}

// Read takes input of stream 0 and grants credit for it. It returns io.EOF at the stream's end and failure.Cancelled after a cancellation.
func (c *Call) Read(p []byte) (int, error) {
	c.mu.Lock()
	for len(c.chunks) == 0 && !c.streams[Input].ended && !c.cancelled {
		c.changed.Wait()
	}
	if c.cancelled {
		c.mu.Unlock()
		return 0, failure.Cancelled
	}
	if len(c.chunks) == 0 {
		c.mu.Unlock()
		return 0, io.EOF
	}
	n := copy(p, c.chunks[0])
	c.mu.Unlock()
	c.Consume(n)
	return n, nil
}

// Peek returns the next input without taking it, and whether the stream's end has come and nothing is left.
func (c *Call) Peek() (chunk []byte, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.chunks) > 0 {
		return c.chunks[0], false
	}
	return nil, c.streams[Input].ended
}

// Consume takes n bytes of the chunk that Peek returned and grants credit for them in steps of a quarter of the initial credit.
func (c *Call) Consume(n int) {
	c.mu.Lock()
	if n == len(c.chunks[0]) {
		c.chunks[0] = nil
		c.chunks = c.chunks[1:]
	} else {
		c.chunks[0] = c.chunks[0][n:]
	}
	grant := c.owe(n)
	c.mu.Unlock()
	c.sendGrant(grant)
}

// Discard drops the input that has come and all that will come.
func (c *Call) Discard() {
	c.mu.Lock()
	c.discard = true
	size := 0
	for _, chunk := range c.chunks {
		size += len(chunk)
	}
	c.chunks = nil
	grant := c.owe(size)
	c.mu.Unlock()
	c.sendGrant(grant)
}

// owe is called with the lock held and returns what is to be granted now.
func (c *Call) owe(n int) uint32 {
	c.owed += uint32(n)
	if c.owed < InitialCredit/4 || c.streams[Input].ended {
		return 0
	}
	grant := c.owed
	c.owed = 0
	c.streams[Input].credit += int64(grant)
	return grant
}

func (c *Call) sendGrant(size uint32) {
	if size == 0 {
		return
	}
	var payload [4]byte
	binary.BigEndian.PutUint32(payload[:], size)
	_ = c.writer.post(c, frame.Append(nil, frame.Credit, Input, c.id, payload[:]))
}

// Event sends an EVENT.
func (c *Call) Event(body []byte) error {
	return c.writer.post(c, frame.Append(nil, frame.Event, 0, c.id, body))
}

// End marks a stream of the agent as one whose END the result has to follow, even if nothing was sent on it.
func (c *Call) End(stream int) {
	c.mu.Lock()
	c.streams[stream].used = true
	c.mu.Unlock()
}

// Finish ends the streams in use and the channel. Only its first call has an effect.
func (c *Call) Finish(result *message.Builder) {
	if !c.session.remove(c) {
		return
	}
	frames := make([]byte, 0, 512)
	c.mu.Lock()
	for _, stream := range []int{Output, Errors} {
		if a := &c.streams[stream]; a.used && !a.ended {
			a.ended = true
			frames = frame.Append(frames, frame.Data, uint8(stream)|frame.End, c.id, nil)
		}
	}
	c.mu.Unlock()
	_ = c.writer.post(c, frame.Append(frames, frame.Result, 0, c.id, result.Bytes()))
}

// Succeed finishes with the fields of fill, which may be nil.
func (c *Call) Succeed(fill func(*message.Builder)) {
	body := message.Build().Bool("ok", true)
	if fill != nil {
		fill(body)
	}
	c.Finish(body)
}

// Fail finishes with an error.
func (c *Call) Fail(err error) {
	f := failure.Of(err)
	body := message.Build().Bool("ok", false)
	body.Object("error", message.Build().Text("code", f.Code).Text("message", f.Message))
	c.Finish(body)
}
