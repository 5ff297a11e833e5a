package proxy

import (
	"encoding/binary"
	"fmt"
	"io"
)

// The kinds of frames; see spec/proxy-link.md.
const (
	kindHello byte = iota + 1
	kindOpen
	kindData
	kindCredit
	kindEnd
	kindReset
)

const (
	greeting     = "emberbox-proxy 1"
	headerBytes  = 8
	payloadBytes = 16_384
	creditBytes  = 4
	window       = 131_072
)

type frame struct {
	connection uint32
	kind       byte
	payload    []byte
}

func encode(connection uint32, kind byte, payload []byte) []byte {
	data := make([]byte, headerBytes, headerBytes+len(payload))
	binary.BigEndian.PutUint32(data, connection)
	data[4] = kind
	binary.BigEndian.PutUint16(data[6:], uint16(len(payload)))
	return append(data, payload...)
}

// readFrame reads a frame of the host. The payload is fresh memory.
func readFrame(in io.Reader) (frame, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return frame{}, err
	}
	read := frame{binary.BigEndian.Uint32(header[:]), header[4], nil}
	length := int(binary.BigEndian.Uint16(header[6:]))
	if err := check(read, header[5], length); err != nil {
		return frame{}, err
	}
	read.payload = make([]byte, length)
	_, err := io.ReadFull(in, read.payload)
	return read, err
}

func check(f frame, reserved byte, length int) error {
	least, most := 0, 0
	switch f.kind {
	case kindData:
		least, most = 1, payloadBytes
	case kindCredit:
		least, most = creditBytes, creditBytes
	case kindEnd, kindReset:
	default:
		return fmt.Errorf("a frame of the kind %d from the host", f.kind)
	}
	if reserved != 0 || length < least || length > most {
		return fmt.Errorf("a frame of the kind %d with %d bytes", f.kind, length)
	}
	return nil
}
