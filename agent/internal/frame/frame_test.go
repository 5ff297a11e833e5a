package frame_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/vectors"
)

func TestVectorsAreDecodedAndEncoded(t *testing.T) {
	for _, v := range vectors.Load(t).Frames {
		whole := v.Bytes(t)
		h, payload, err := frame.NewReader(bytes.NewReader(whole)).Next()
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if uint8(h.Type) != v.Type || h.Flags != v.Flags || h.Channel != v.Channel || !bytes.Equal(payload, whole[frame.HeaderSize:]) {
			t.Errorf("%s: decoded to %+v", v.Name, h)
		}
		if again := frame.Append(nil, h.Type, h.Flags, h.Channel, payload); !bytes.Equal(again, whole) {
			t.Errorf("%s: encoded to other bytes", v.Name)
		}
	}
}

func TestLengthIsCheckedBeforeThePayloadIsRead(t *testing.T) {
	var header [frame.HeaderSize]byte
	frame.Put(header[:], frame.Header{Length: frame.MaxData + 1, Type: frame.Data, Channel: 1})
	_, _, err := frame.NewReader(bytes.NewReader(header[:])).Next()
	var violation frame.Violation
	if !errors.As(err, &violation) {
		t.Fatalf("got %v", err)
	}
}

func TestReaderPassesOverThePayloadOfAViolation(t *testing.T) {
	var header [frame.HeaderSize]byte
	frame.Put(header[:], frame.Header{Length: 70000, Type: frame.Data, Channel: 1})
	stream := append(header[:], make([]byte, 70000)...)
	stream = frame.Append(stream, frame.Data, 0, 5, []byte("next"))
	reader := frame.NewReader(bytes.NewReader(stream))
	if _, _, err := reader.Next(); err == nil {
		t.Fatal("no violation")
	}
	h, payload, err := reader.Next()
	if err != nil || h.Channel != 5 || string(payload) != "next" {
		t.Fatalf("got %+v %q %v", h, payload, err)
	}
	if _, _, err := reader.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v at the end", err)
	}
}

func TestStreamThatEndsWithinAFrame(t *testing.T) {
	whole := frame.Append(nil, frame.Data, 0, 5, []byte("next"))
	for cut := 1; cut < len(whole); cut++ {
		if _, _, err := frame.NewReader(bytes.NewReader(whole[:cut])).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	v := vectors.Load(f)
	for _, one := range append(v.Frames, v.Violations...) {
		if one.Payload == nil {
			f.Add(vectors.Unhex(f, one.Hex))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reader := frame.NewReader(bytes.NewReader(data))
		for {
			h, payload, err := reader.Next()
			var violation frame.Violation
			if errors.As(err, &violation) {
				continue
			}
			if err != nil {
				return
			}
			if int(h.Length) != len(payload) || len(payload) > frame.MaxJSON || h.Stream() > 2 {
				t.Fatalf("let through %+v", h)
			}
			if !bytes.Contains(data, frame.Append(nil, h.Type, h.Flags, h.Channel, payload)) {
				t.Fatal("the frame is not what was read")
			}
		}
	})
}
