package session

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/vectors"
)

const bound = 3 * time.Minute // a busy machine is slow; only a hang is to fail

// reading is a service whose `ping` answers at once, whose `flood` sends for ever, and whose other requests read all their input.
type reading struct{ ended chan error }

func (s reading) Begin(call *Call) {
	switch call.Request.Text("op") {
	case "ping":
		call.Succeed(nil)
	case "flood":
		go s.flood(call)
	case "swallow":
	default:
		go s.drain(call)
	}
}

func (s reading) flood(call *Call) {
	for {
		if _, err := call.Write(make([]byte, 100000)); err != nil {
			call.Fail(err)
			s.ended <- err
			return
		}
	}
}

func (s reading) drain(call *Call) {
	n, err := io.Copy(io.Discard, struct{ io.Reader }{call})
	if err != nil {
		call.Fail(err)
		s.ended <- err
		return
	}
	call.Succeed(func(b *message.Builder) { b.Int("size", n) })
	s.ended <- nil
}

// peer is the host's end.
type peer struct {
	t      testing.TB
	link   net.Conn
	reader *frame.Reader
	ended  chan error
	served chan error
}

func connect(t testing.TB) *peer {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]net.Conn{}
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
	p := &peer{t: t, link: ends[0], reader: frame.NewReader(ends[0]), ended: make(chan error, 100), served: make(chan error, 1)}
	_ = p.link.SetDeadline(time.Now().Add(bound))
	s := New("test", []string{"exec"}, reading{p.ended})
	go func() {
		p.served <- s.Serve(ends[1])
		_ = ends[1].Close()
	}()
	t.Cleanup(func() {
		_ = p.link.Close()
		<-p.served
	})
	return p
}

func (p *peer) send(kind frame.Type, flags uint8, channel uint32, payload string) {
	p.raw(frame.Append(nil, kind, flags, channel, []byte(payload)))
}

func (p *peer) raw(data []byte) {
	if _, err := p.link.Write(data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) hello() { p.send(frame.Hello, 0, 0, `{"protocol":1,"minor":0,"host":"test"}`) }

func (p *peer) next() (frame.Header, string) {
	p.t.Helper()
	h, payload, err := p.reader.Next()
	if err != nil {
		p.t.Fatalf("the agent sent nothing more: %v", err)
	}
	return h, string(payload)
}

func (p *peer) expect(kind frame.Type, channel uint32) string {
	p.t.Helper()
	h, payload := p.next()
	if h.Type != kind || h.Channel != channel {
		p.t.Fatalf("got type %d on channel %d (%s), want type %d on channel %d", h.Type, h.Channel, payload, kind, channel)
	}
	return payload
}

// ping tells whether the agent still works, passing over what other channels say.
func (p *peer) ping() (refused bool) {
	p.t.Helper()
	const channel = 77777
	p.send(frame.Request, 0, channel, `{"op":"ping"}`)
	for {
		h, _ := p.next()
		if h.Type == frame.Refuse {
			return true
		}
		if h.Type == frame.Result && h.Channel == channel {
			return false
		}
	}
}

func TestViolationsAreRefused(t *testing.T) {
	for _, v := range vectors.Load(t).Violations {
		if v.Side == "host" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			p := connect(t)
			p.hello()
			p.send(frame.Request, 0, 1, `{"op":"read"}`)
			p.raw(v.Bytes(t))
			if body := p.expect(frame.Refuse, 0); message.Object(mustParse(t, body)).Text("code") != "violation" {
				t.Fatalf("refused with %s", body)
			}
			if err := <-p.ended; !errors.Is(err, failure.Cancelled) {
				t.Fatalf("the channel that was open ended with %v", err)
			}
		})
	}
}

func mustParse(t testing.TB, body string) message.Object {
	t.Helper()
	object, err := message.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return object
}

func TestFramesOfTheHostAreTaken(t *testing.T) {
	for _, v := range vectors.Load(t).Frames {
		if v.SentBy != "host" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			p := connect(t)
			p.hello()
			p.raw(v.Bytes(t))
			if p.ping() {
				t.Fatal("refused")
			}
		})
	}
}

func TestSessionVectors(t *testing.T) {
	for _, v := range vectors.Load(t).Sessions {
		if v.Side != "agent" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			p := connect(t)
			for i, text := range v.Frames {
				p.raw(vectors.Unhex(t, text))
				if (v.ViolationAt != nil && *v.ViolationAt == i) || (v.RefusedAt != nil && *v.RefusedAt == i) {
					for {
						if h, _ := p.next(); h.Type == frame.Refuse {
							return
						}
					}
				}
			}
			if v.Name == "64 channels" {
				return // a ping would be the 65th
			}
			if p.ping() {
				t.Fatal("refused")
			}
		})
	}
}

func TestCreditVectors(t *testing.T) {
	for _, v := range vectors.Load(t).Credit {
		a := account{credit: InitialCredit}
		for i, step := range v.Steps {
			var err error
			if step.Data != nil {
				err = a.spend(*step.Data, step.End)
			} else {
				err = a.grant(*step.Credit)
			}
			if violated := err != nil; violated != (v.ViolationAt != nil && *v.ViolationAt == i) {
				t.Errorf("%s: step %d gave %v", v.Name, i, err)
			} else if violated {
				break
			}
		}
		if v.After != nil && a.credit != *v.After {
			t.Errorf("%s: %d are left, want %d", v.Name, a.credit, *v.After)
		}
	}
}

func TestAnotherProtocolIsNamed(t *testing.T) {
	p := connect(t)
	p.send(frame.Hello, 0, 0, `{"protocol":2}`)
	body := mustParse(t, p.expect(frame.Refuse, 0))
	if body.Text("code") != "protocol_version" {
		t.Fatalf("got %v", body)
	}
	p.send(frame.Request, 0, 1, `{"op":"ping"}`)
	p.hello()
	p.expect(frame.Hello, 0)
	if p.ping() {
		t.Fatal("refused after the right hello")
	}
}

func TestSessionGoesOnAfterAViolation(t *testing.T) {
	p := connect(t)
	p.hello()
	p.send(frame.Data, 1, 1, "x")
	p.expect(frame.Refuse, 0)
	p.send(frame.Data, 1, 1, "x")
	p.hello()
	p.expect(frame.Hello, 0)
	if p.ping() {
		t.Fatal("refused")
	}
}

func TestSenderStopsWithoutCreditAndGoesOnWithIt(t *testing.T) {
	p := connect(t)
	p.hello()
	p.send(frame.Request, 0, 1, `{"op":"flood"}`)
	got := 0
	for got < InitialCredit {
		got += len(p.expect(frame.Data, 1))
	}
	if got != InitialCredit || p.ping() {
		t.Fatalf("%d bytes came on the first credit", got)
	}
	p.send(frame.Credit, 1, 1, "\x00\x00\x00\x07")
	for more := 0; more < 7; {
		more += len(p.expect(frame.Data, 1))
	}
	p.send(frame.Control, 0, 1, `{"control":"cancel"}`)
	h, _ := p.next()
	if h.Type != frame.Data || !h.Ended() {
		t.Fatalf("got %+v in place of the stream's end", h)
	}
	if code := mustParse(t, p.expect(frame.Result, 1)); code[0].Value.Truth {
		t.Fatal("a cancelled request says ok")
	}
}

func TestInputIsCreditedWhenConsumed(t *testing.T) {
	p := connect(t)
	p.hello()
	p.send(frame.Request, 0, 3, `{"op":"read"}`)
	chunk := string(make([]byte, frame.MaxData))
	credit, sent := InitialCredit, 0
	const total = 20 * frame.MaxData
	for sent < total {
		for credit < frame.MaxData {
			payload := p.expect(frame.Credit, 3)
			credit += int(payload[0])<<24 | int(payload[1])<<16 | int(payload[2])<<8 | int(payload[3])
		}
		p.send(frame.Data, 0, 3, chunk)
		credit -= len(chunk)
		sent += len(chunk)
	}
	p.send(frame.Data, frame.End, 3, "")
	for {
		h, payload := p.next()
		if h.Type != frame.Result {
			continue
		}
		body := mustParse(t, payload)
		if v, _ := body.Get("size"); v.Text != "1310720" {
			t.Fatalf("got %s", payload)
		}
		return
	}
}

func TestDataIsNotTakenAheadOfItsConsumer(t *testing.T) {
	p := connect(t)
	p.hello()
	p.send(frame.Request, 0, 3, `{"op":"swallow"}`)
	for range InitialCredit / frame.MaxData {
		p.send(frame.Data, 0, 3, string(make([]byte, frame.MaxData)))
	}
	if p.ping() {
		t.Fatal("refused within the credit")
	}
	p.send(frame.Data, 0, 3, "x")
	p.expect(frame.Refuse, 0)
}

func TestHostThatGoesAwayCancelsItsChannels(t *testing.T) {
	p := connect(t)
	p.hello()
	p.send(frame.Request, 0, 1, `{"op":"flood"}`)
	p.send(frame.Request, 0, 2, `{"op":"read"}`)
	p.ping()
	_ = p.link.Close()
	for range 2 {
		select {
		case err := <-p.ended:
			if err == nil {
				t.Fatal("ended well")
			}
		case <-time.After(bound):
			t.Fatal("a channel's work goes on")
		}
	}
}

func TestResultsOfAnEndedSessionAreNotSent(t *testing.T) {
	p := connect(t)
	p.hello()
	p.send(frame.Request, 0, 1, `{"op":"read"}`)
	p.hello()
	p.expect(frame.Hello, 0)
	<-p.ended
	if p.ping() {
		t.Fatal("refused")
	}
}

func FuzzSession(f *testing.F) {
	v := vectors.Load(f)
	hello := frame.Append(nil, frame.Hello, 0, 0, []byte(`{"protocol":1}`))
	request := frame.Append(nil, frame.Request, 0, 1, []byte(`{"op":"read"}`))
	for _, one := range append(v.Frames, v.Violations...) {
		if one.Payload == nil {
			f.Add(append(append(append([]byte{}, hello...), request...), vectors.Unhex(f, one.Hex)...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		s := New("fuzz", nil, reading{make(chan error, 1000)})
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		go func() {
			_, _ = ours.Write(data)
			_ = ours.Close()
		}()
		if err := s.Serve(theirs); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Fatal(err)
		}
		_ = theirs.Close()
		if len(s.channels) != 0 {
			t.Fatal("channels are left")
		}
	})
}
