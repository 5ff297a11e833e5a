package frame

import (
	"bufio"
	"io"
)

const readBuffer = 16384

// Reader takes frames from a byte stream. It keeps one payload at a time.
type Reader struct {
	source  *bufio.Reader
	header  [HeaderSize]byte
	payload []byte
	skip    int64
}

// NewReader returns a reader of frames from source.
func NewReader(source io.Reader) *Reader {
	return &Reader{source: bufio.NewReaderSize(source, readBuffer)}
}

// Next returns the next frame. The payload is valid until the next call.
//
// The error is a Violation where a header is not allowed: its payload has not been read, and the next call passes over as many
// bytes as it announced. Any other error is the stream's; io.EOF comes only between frames.
func (r *Reader) Next() (Header, []byte, error) {
	if err := r.pass(); err != nil {
		return Header{}, nil, err
	}
	if _, err := io.ReadFull(r.source, r.header[:]); err != nil {
		return Header{}, nil, err
	}
	h, err := Decode(r.header[:])
	if err != nil {
		r.skip = int64(h.Length)
		return h, nil, err
	}
	payload := r.room(int(h.Length))
	if _, err := io.ReadFull(r.source, payload); err != nil {
		return h, nil, io.ErrUnexpectedEOF
	}
	return h, payload, nil
}

func (r *Reader) pass() error {
	if r.skip == 0 {
		return nil
	}
	n := r.skip
	r.skip = 0
	_, err := io.CopyN(io.Discard, r.source, n)
	return err
}

// room gives back a large buffer as soon as a small payload follows, so that one large request is not kept for ever.
func (r *Reader) room(size int) []byte {
	if size > cap(r.payload) || (size <= readBuffer && cap(r.payload) > MaxData) {
		r.payload = make([]byte, max(size, 1024))
	}
	return r.payload[:size]
}
