// Command emberbox-agent is process 1 of an Emberbox guest. With --stdio, --socket or --listen it serves a host without being that;
// `emberbox-agent proxy` carries a guest's connections to the host's proxy.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"emberbox.dev/agent/internal/port"
	"emberbox.dev/agent/internal/service"
	"emberbox.dev/agent/internal/session"
)

var version = "dev"

// memoryGoal is where collecting garbage begins; below it, the collector's code is not even translated in a clone.
const memoryGoal = 32 << 20

// schedulers lets a goroutine that becomes ready run at once while others wait in system calls. With one for each processor, as is the
// default, it would wait until the runtime's monitor looks, which may be 10 ms later.
const schedulers = 8

func main() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryGoal)
	runtime.GOMAXPROCS(schedulers)
	if os.Getpid() == 1 {
		guest()
		return
	}
	work := func() error { return host(os.Args[1:]) }
	if len(os.Args) == 2 && os.Args[1] == "proxy" {
		work = serveProxy
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "emberbox-agent:", err)
		os.Exit(1)
	}
}

// serve talks with one host after another until the port has no more.
func serve(way port.Port, work *service.Service) error {
	talk := session.New(version, service.Features, work)
	for {
		link, err := way.Accept(talk.Greeting())
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = talk.Serve(link)
		_ = link.Close()
		if err != nil {
			fmt.Fprintln(os.Stderr, "emberbox-agent: the link to the host:", err)
		}
	}
}
