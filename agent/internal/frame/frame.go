// Package frame encodes and decodes the frames of the guest protocol (section 1 of spec/guest-protocol.md).
package frame

import "encoding/binary"

// HeaderSize is the number of bytes before a frame's payload.
const HeaderSize = 12

// MaxData is the largest payload of a DATA frame, in bytes.
const MaxData = 65536

// MaxJSON is the largest payload of a JSON frame within a channel, in bytes.
const MaxJSON = 262144

const maxGreeting = 4096

// Type tells what a frame is.
type Type uint8

// The types of frames.
const (
	Hello   Type = 1
	Refuse  Type = 2
	Request Type = 3
	Event   Type = 4
	Result  Type = 5
	Data    Type = 6
	Credit  Type = 7
	Control Type = 8
)

// End is the flag of the last DATA frame of a stream.
const End = 0x80

const (
	streamMask = 0x0f
	lastStream = 2
)

// Header is the fixed part of a frame.
type Header struct {
	Length  uint32
	Type    Type
	Flags   uint8
	Channel uint32
}

// Stream returns the stream that a DATA or CREDIT frame is about.
func (h Header) Stream() int { return int(h.Flags & streamMask) }

// Ended tells whether a DATA frame is the last of its stream.
func (h Header) Ended() bool { return h.Flags&End != 0 }

// Violation is a frame, or an order of frames, that the protocol does not allow.
type Violation string

func (v Violation) Error() string { return string(v) }

// Put writes the header of a frame to the first HeaderSize bytes of buffer.
func Put(buffer []byte, h Header) {
	binary.BigEndian.PutUint32(buffer[0:], h.Length)
	buffer[4] = byte(h.Type)
	buffer[5] = h.Flags
	buffer[6], buffer[7] = 0, 0
	binary.BigEndian.PutUint32(buffer[8:], h.Channel)
}

// Append adds a whole frame to buffer and returns the longer buffer.
func Append(buffer []byte, kind Type, flags uint8, channel uint32, payload []byte) []byte {
	var header [HeaderSize]byte
	Put(header[:], Header{Length: uint32(len(payload)), Type: kind, Flags: flags, Channel: channel})
	return append(append(buffer, header[:]...), payload...)
}

// Decode reads a header and checks all that it alone can tell, its length first.
// On a Violation the header is returned as it was read, so that a reader can pass over the payload.
func Decode(b []byte) (Header, error) {
	h := Header{
		Length:  binary.BigEndian.Uint32(b[0:]),
		Type:    Type(b[4]),
		Flags:   b[5],
		Channel: binary.BigEndian.Uint32(b[8:]),
	}
	if b[6] != 0 || b[7] != 0 {
		return h, Violation("the reserved field is not 0")
	}
	return h, h.check()
}

func (h Header) check() error {
	if err := h.checkLength(); err != nil {
		return err
	}
	if (h.Channel == 0) != (h.Type == Hello || h.Type == Refuse) {
		return Violation("the channel does not fit the type")
	}
	allowed := uint8(0)
	switch h.Type {
	case Data:
		allowed = streamMask | End
	case Credit:
		allowed = streamMask
	}
	if h.Flags&^allowed != 0 {
		return Violation("a flag is set that the type does not allow")
	}
	if h.Stream() > lastStream {
		return Violation("there is no such stream")
	}
	return nil
}

func (h Header) checkLength() error {
	limit := uint32(MaxJSON)
	switch h.Type {
	case Hello, Refuse:
		limit = maxGreeting
	case Request, Event, Result, Control:
	case Data:
		limit = MaxData
	case Credit:
		if h.Length != 4 {
			return Violation("CREDIT is not 4 bytes long")
		}
	default:
		return Violation("there is no such type")
	}
	if h.Length > limit {
		return Violation("the payload is longer than its type allows")
	}
	return nil
}
