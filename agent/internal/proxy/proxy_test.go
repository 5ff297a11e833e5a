package proxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

const bound = 3 * time.Minute // a busy machine is slow; only a hang is to fail

// host is the other end of a link under test.
type host struct {
	t       *testing.T
	address string
	in      *io.PipeReader
	out     *io.PipeWriter
	ended   chan error
}

func serve(t *testing.T) *host {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fromHost, toAgent := io.Pipe()
	fromAgent, toHost := io.Pipe()
	h := &host{t, listener.Addr().String(), fromAgent, toAgent, make(chan error, 1)}
	go func() { h.ended <- Serve(listener, fromHost, toHost) }()
	t.Cleanup(func() { _ = toAgent.Close(); _ = fromAgent.Close(); _ = fromHost.Close() })
	if f := h.next(); f.kind != kindHello || f.connection != 0 || string(f.payload) != greeting {
		t.Fatalf("greeted by %v", f)
	}
	return h
}

// next reads any frame, also those that only an agent sends.
func (h *host) next() frame {
	h.t.Helper()
	var header [headerBytes]byte
	if _, err := io.ReadFull(h.in, header[:]); err != nil {
		h.t.Fatal(err)
	}
	payload := make([]byte, binary.BigEndian.Uint16(header[6:]))
	if _, err := io.ReadFull(h.in, payload); err != nil {
		h.t.Fatal(err)
	}
	return frame{binary.BigEndian.Uint32(header[:]), header[4], payload}
}

func (h *host) expect(kind byte, payload string) frame {
	h.t.Helper()
	f := h.next()
	if f.kind != kind || string(f.payload) != payload {
		h.t.Fatalf("got the kind %d with %q, want %d with %q", f.kind, f.payload, kind, payload)
	}
	return f
}

func (h *host) send(connection uint32, kind byte, payload []byte) {
	h.t.Helper()
	if _, err := h.out.Write(encode(connection, kind, payload)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) connect() *net.TCPConn {
	h.t.Helper()
	stream, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = stream.Close() })
	_ = stream.SetDeadline(time.Now().Add(bound))
	return stream.(*net.TCPConn)
}

func (h *host) result() error {
	h.t.Helper()
	select {
	case err := <-h.ended:
		return err
	case <-time.After(bound):
		h.t.Fatal("the link does not end")
		return nil
	}
}

func credit(bytes uint32) string { return string(binary.BigEndian.AppendUint32(nil, bytes)) }

func TestBothDirectionsAndTheirEnds(t *testing.T) {
	h := serve(t)
	stream := h.connect()
	number := h.expect(kindOpen, "").connection
	_, _ = stream.Write([]byte("ask"))
	h.expect(kindData, "ask")
	_ = stream.CloseWrite()
	h.expect(kindEnd, "")
	h.send(number, kindData, []byte("answer"))
	h.expect(kindCredit, credit(6))
	h.send(number, kindEnd, nil)
	if got, err := io.ReadAll(stream); err != nil || string(got) != "answer" {
		t.Fatalf("%q %v", got, err)
	}
	_ = h.out.Close()
	if err := h.result(); err != nil {
		t.Fatal(err)
	}
}

func TestOneConnectionDoesNotHoldUpAnother(t *testing.T) {
	h := serve(t)
	stuck := h.connect()
	first := h.expect(kindOpen, "").connection
	for range window / payloadBytes {
		h.send(first, kindData, make([]byte, payloadBytes))
	}
	drained := make(chan struct{})
	lively := h.connect()
	go func() {
		defer close(drained)
		_, _ = lively.Write([]byte("x"))
	}()
	for {
		if f := h.next(); f.kind == kindData {
			break
		} else if f.kind != kindOpen && f.kind != kindCredit {
			t.Fatalf("got the kind %d", f.kind)
		}
	}
	<-drained
	_ = stuck.Close()
}

func TestUpstreamStopsAtItsCredit(t *testing.T) {
	h := serve(t)
	stream := h.connect()
	number := h.expect(kindOpen, "").connection
	go func() { _, _ = stream.Write(make([]byte, window+5)) }()
	for got := 0; got < window; {
		f := h.next()
		if f.kind != kindData {
			t.Fatalf("got the kind %d", f.kind)
		}
		got += len(f.payload)
	}
	h.send(number, kindCredit, []byte(credit(3)))
	h.expect(kindData, "\x00\x00\x00")
}

func TestResets(t *testing.T) {
	h := serve(t)
	stream := h.connect()
	number := h.expect(kindOpen, "").connection
	h.send(number, kindReset, nil)
	if _, err := stream.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection still stands")
	}
	h.send(number, kindData, []byte("late"))
	other := h.connect()
	second := h.expect(kindOpen, "").connection
	if second == number {
		t.Fatal("a number was used again")
	}
	_ = other.SetLinger(0)
	_ = other.Close()
	h.expect(kindReset, "")
}

func TestViolationsEndTheLink(t *testing.T) {
	for name, bad := range map[string][]byte{
		"an unknown kind":  encode(1, 99, nil),
		"a hello":          encode(1, kindHello, nil),
		"empty data":       encode(1, kindData, nil),
		"a short credit":   encode(1, kindCredit, []byte{1}),
		"a loaded end":     encode(1, kindEnd, []byte{1}),
		"too much credit":  encode(1, kindCredit, []byte(credit(1))),
		"a reserved byte":  {0, 0, 0, 1, kindEnd, 1, 0, 0},
		"too long payload": {0, 0, 0, 1, kindData, 0, 0xff, 0xff},
		"data after end":   append(encode(1, kindEnd, nil), encode(1, kindData, []byte{1})...),
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t)
			_ = h.connect()
			h.expect(kindOpen, "")
			go func() { _, _ = h.out.Write(bad) }()
			go func() { _, _ = io.Copy(io.Discard, h.in) }()
			if err := h.result(); err == nil {
				t.Fatal("the link ended without an error")
			}
		})
	}
}

func TestFramesReadAsWritten(t *testing.T) {
	want := []byte("payload")
	got, err := readFrame(bytes.NewReader(encode(7, kindData, want)))
	if err != nil || got.connection != 7 || got.kind != kindData || !bytes.Equal(got.payload, want) {
		t.Fatalf("%v %v", got, err)
	}
}
