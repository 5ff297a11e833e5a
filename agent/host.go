package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/machine"
	"emberbox.dev/agent/internal/output"
	"emberbox.dev/agent/internal/port"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/service"
	"emberbox.dev/agent/internal/waiting"
)

// host serves on the machine as it is: no mounts, no cgroups, programs as the current user. It is for tests of the protocol's other end.
func host(arguments []string) error {
	flags := flag.NewFlagSet("emberbox-agent", flag.ContinueOnError)
	stdio := flags.Bool("stdio", false, "serve one session on standard input and output")
	socket := flags.String("socket", "", "serve one session on the Unix socket at `PATH`, on which a host listens")
	listen := flags.String("listen", "", "make a Unix socket at `PATH` and serve one host after another")
	work := flags.String("work", "", "the work `FOLDER` (default: the current one)")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	folder, err := filepath.Abs(*work)
	if err != nil {
		return err
	}
	way, err := hostPort(*stdio, *socket, *listen)
	if err != nil {
		return err
	}
	process.Protect()
	if err := process.AdoptOrphans(); err != nil {
		return err
	}
	user := identity.Current(folder)
	reaper := process.NewReaper()
	results := output.In(folder)
	if err := results.Make(user); err != nil {
		return err
	}
	base := environment.Merge(hostEnvironment(), []string{results.Variable()})
	stocks := &waiting.Stocks{
		Reaper: reaper, Groups: cgroup.Bare{}, User: user, Environment: base, Work: folder,
	}
	defer stocks.Stop()
	runner := process.NewRunner(reaper, cgroup.Bare{}, stocks)
	runner.Output = results
	return serve(way, &service.Service{
		Version:     version,
		Work:        folder,
		Users:       identity.Table{Default: user},
		Environment: base,
		Runner:      runner,
		Stocks:      stocks,
		Machine:     machine.Host{Work: folder},
	})
}

// hostEnvironment lets programs be found where the caller finds them.
func hostEnvironment() environment.Base {
	base := environment.Load("")
	if path := os.Getenv("PATH"); path != "" {
		base = environment.Merge(base, []string{"PATH=" + path})
	}
	return base
}

func hostPort(stdio bool, socket, listen string) (port.Port, error) {
	switch {
	case stdio && socket == "" && listen == "":
		return port.Standard(), nil
	case !stdio && socket != "" && listen == "":
		return port.Dial(socket)
	case !stdio && socket == "" && listen != "":
		return port.Listen(listen)
	}
	return nil, errors.New("give exactly one of --stdio, --socket PATH and --listen PATH")
}
