package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/boot"
	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/machine"
	"emberbox.dev/agent/internal/metrics"
	"emberbox.dev/agent/internal/output"
	"emberbox.dev/agent/internal/port"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/service"
	"emberbox.dev/agent/internal/waiting"
)

const (
	portName   = "emberbox.0"
	workFolder = "/work"
	groupsRoot = "/sys/fs/cgroup"
	lastWords  = 100 * time.Millisecond
)

// guest is the agent as process 1. It ends the machine when it cannot go on.
func guest() {
	// Ignored signals would stay ignored in every program; caught ones do not. The Go runtime ends the process for each of
	// these that another process sends, unless it is caught.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGSEGV, syscall.SIGSTKFLT, syscall.SIGSYS, syscall.SIGTRAP)
	err := serveGuest()
	boot.Complain(err)
	time.Sleep(lastWords)
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	select {}
}

func serveGuest() error {
	system, err := boot.Start()
	if err != nil {
		return err
	}
	process.Protect()
	reaper := process.NewReaper()
	tree, err := cgroup.NewTree(groupsRoot, metrics.MemoryTotal())
	if err != nil {
		return fmt.Errorf("cannot set up cgroups: %w", err)
	}
	tree.Prepare()
	way, err := guestPort(system.CommandLine)
	if err != nil {
		return err
	}
	user, folder := identity.Load(""), output.In(workFolder)
	if err := folder.Make(user); err != nil {
		return err
	}
	base := environment.Merge(environment.Load(""), []string{folder.Variable()})
	stocks := &waiting.Stocks{
		Reaper: reaper, Groups: tree, User: user, Environment: base, Work: workFolder,
	}
	runner := process.NewRunner(reaper, tree, stocks)
	runner.Output = folder
	return serve(way, &service.Service{
		Version:     version,
		Work:        workFolder,
		Users:       identity.Table{Default: user},
		Environment: base,
		Runner:      runner,
		Stocks:      stocks,
		Machine:     &machine.Guest{Upper: system.Upper, Drive: system.ScriptDrive, Tree: tree},
	})
}

func guestPort(commandLine string) (port.Port, error) {
	if number, ok := port.VsockPort(commandLine); ok {
		return port.ListenVsock(number)
	}
	return port.OpenVirtio(portName)
}
