package main

import (
	"fmt"
	"net"
	"os"

	"emberbox.dev/agent/internal/proxy"
)

// serveProxy carries connections of the guest's programs over standard input and output.
func serveProxy() error {
	listener, err := net.Listen("tcp", proxy.Address)
	if err != nil {
		return fmt.Errorf("the proxy cannot listen: %w", err)
	}
	return proxy.Serve(listener, os.Stdin, os.Stdout)
}
