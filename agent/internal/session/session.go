// Package session speaks the guest protocol with one host at a time (section 2 of spec/guest-protocol.md).
package session

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/message"
)

// Protocol is the version that both sides must share; Minor counts additions.
const (
	Protocol = 1
	Minor    = 0
)

const maxChannels = 64

// Service carries out requests.
type Service interface {
	// Begin is called by the goroutine that reads the stream, so it must not wait for the host. It sees to it that the call is finished, once.
	Begin(call *Call)
}

type state uint8

const (
	waiting state = iota // the host's HELLO has not come
	open
	refused // after REFUSE: all frames but a HELLO are dropped
)

// Session is the agent's end of the protocol. Its state outlives a host that goes away and comes back.
type Session struct {
	service  Service
	greeting []byte

	writer  *writer
	state   state
	greeted bool // the agent's HELLO has gone out and waits for its answer

	mu       sync.Mutex
	channels map[uint32]*Call
}

// New returns a session of an agent of that version with those features.
func New(version string, features []string, service Service) *Session {
	hello := message.Build().Int("protocol", Protocol).Int("minor", Minor).Text("agent", version).Texts("features", features)
	return &Session{
		service:  service,
		greeting: frame.Append(nil, frame.Hello, 0, 0, hello.Bytes()),
		channels: make(map[uint32]*Call),
	}
}

// Greeting is the agent's HELLO, which is to be sent whenever a host has come, before Serve.
func (s *Session) Greeting() []byte { return s.greeting }

// Serve talks with one host until the stream ends, then cancels and forgets all channels. It returns nil where the host just went away.
func (s *Session) Serve(link io.ReadWriter) error {
	s.writer = newWriter(link)
	s.greeted = true
	defer s.reset()
	reader := frame.NewReader(link)
	for {
		h, payload, err := reader.Next()
		if err == nil {
			err = s.take(h, payload)
		}
		if err == nil {
			continue
		}
		var violation frame.Violation
		if !errors.As(err, &violation) {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return err
		}
		s.refuse("violation", violation.Error())
	}
}

func (s *Session) refuse(code, text string) {
	if s.state == refused {
		return
	}
	s.reset()
	s.state = refused
	body := message.Build().Text("code", code).Text("message", text)
	_ = s.writer.post(nil, frame.Append(nil, frame.Refuse, 0, 0, body.Bytes()))
}

// reset cancels and forgets every channel.
func (s *Session) reset() {
	s.mu.Lock()
	calls := s.channels
	s.channels = make(map[uint32]*Call)
	s.mu.Unlock()
	for _, call := range calls {
		call.detached.Store(true)
		call.cancel()
	}
	s.writer.forget()
}

func (s *Session) take(h frame.Header, payload []byte) error {
	if h.Type == frame.Hello {
		return s.hello(payload)
	}
	if s.state == refused {
		return nil
	}
	if s.state == waiting {
		return frame.Violation("the host's HELLO has not come")
	}
	switch h.Type {
	case frame.Request:
		return s.request(h.Channel, payload)
	case frame.Data, frame.Credit, frame.Control:
		return s.channel(h, payload)
	case frame.Refuse:
		s.reset()
		s.state = refused
		return nil
	default:
		return frame.Violation("a frame of this type comes from the agent alone")
	}
}

func (s *Session) hello(payload []byte) error {
	body, err := parse(payload)
	if err != nil {
		return err
	}
	value, _ := body.Get("protocol")
	version, ok := value.Int()
	if !ok {
		return frame.Violation("HELLO has no protocol")
	}
	answered := s.greeted
	s.greeted = false
	s.reset()
	if version != Protocol {
		s.state = waiting
		s.refuse("protocol_version", fmt.Sprintf("the host speaks protocol %d, the agent speaks protocol %d", version, Protocol))
		return nil
	}
	s.state = open
	if !answered {
		_ = s.writer.post(nil, s.greeting)
	}
	return nil
}

func parse(payload []byte) (message.Object, error) {
	body, err := message.Parse(payload)
	if err != nil {
		return nil, frame.Violation(err.Error())
	}
	return body, nil
}

func (s *Session) request(id uint32, payload []byte) error {
	body, err := parse(payload)
	if err != nil {
		return err
	}
	if v, ok := body.Get("op"); !ok || v.Kind != message.Text {
		return frame.Violation("REQUEST has no op")
	}
	call, err := s.open(id, body)
	if err != nil {
		return err
	}
	s.service.Begin(call)
	return nil
}

func (s *Session) open(id uint32, body message.Object) (*Call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.channels[id]; twice {
		return nil, frame.Violation("REQUEST on a channel that is open")
	}
	if len(s.channels) >= maxChannels {
		return nil, frame.Violation("more channels than may be open at once")
	}
	call := newCall(s, id, body)
	s.channels[id] = call
	return call, nil
}

// remove forgets a channel before its RESULT is sent, since the host may use its id again right after; false where it is gone already.
func (s *Session) remove(call *Call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[call.id] != call {
		return false
	}
	delete(s.channels, call.id)
	return true
}

func (s *Session) channel(h frame.Header, payload []byte) error {
	s.mu.Lock()
	call := s.channels[h.Channel]
	s.mu.Unlock()
	if h.Type == frame.Control {
		body, err := parse(payload)
		if err != nil {
			return err
		}
		if v, ok := body.Get("control"); !ok || v.Kind != message.Text {
			return frame.Violation("CONTROL has no control")
		}
		if call != nil {
			call.control(body)
		}
		return nil
	}
	if call == nil {
		return streamCheck(h)
	}
	if h.Type == frame.Data {
		return call.input(h, payload)
	}
	return call.granted(h, payload)
}

// streamCheck holds frames that crossed with a RESULT to the rules that need no channel.
func streamCheck(h frame.Header) error {
	if (h.Stream() == Input) != (h.Type == frame.Data) {
		return frame.Violation("the stream does not go in that direction")
	}
	return nil
}
