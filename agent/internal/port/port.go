// Package port holds the ways on which a host reaches the agent: a virtio-serial port, vsock, and Unix sockets for tests without a VM.
package port

import (
	"io"
	"strconv"
	"strings"
)

// Port is where hosts come, one after another.
type Port interface {
	// Accept waits, without bound and without using the processor, until a host is there and has been sent the greeting.
	// The link's Read returns io.EOF when that host has gone.
	Accept(greeting []byte) (io.ReadWriteCloser, error)
}

// VsockPort reads the kernel's command line: `emberbox.channel=vsock:PORT` asks for vsock; ok is false where nothing does.
func VsockPort(commandLine string) (number uint32, ok bool) {
	for _, word := range strings.Fields(commandLine) {
		if text, found := strings.CutPrefix(word, "emberbox.channel=vsock:"); found {
			n, err := strconv.ParseUint(text, 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}
