package machine

import (
	"errors"
	"strconv"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/clock"
)

const endPause = 20 * time.Millisecond

// Guest is a virtual machine whose process 1 is the agent.
type Guest struct {
	// Upper is an open folder of the tmpfs that takes all writes.
	Upper int
	// Drive tells what became of the second drive.
	Drive string
	// Tree counts the processes; nil where there are no cgroups.
	Tree *cgroup.Tree
}

func (g *Guest) upper() string { return "/proc/self/fd/" + strconv.Itoa(g.Upper) }

// Resize changes the size of the tmpfs under the overlay.
func (g *Guest) Resize(bytes int64) error {
	return syscall.Mount("", g.upper(), "", syscall.MS_REMOUNT, "size="+strconv.FormatInt(bytes, 10))
}

// Disk returns the size and use of that tmpfs.
func (g *Guest) Disk() (total, used int64) { return disk(g.upper()) }

// Separate makes a clone differ from its twins: the generator first, since the rest may draw from it.
func (g *Guest) Separate(entropy []byte, unixNanoseconds int64, hostname string) error {
	err := errors.Join(clock.Stir(entropy), clock.Set(unixNanoseconds))
	if hostname != "" {
		err = errors.Join(err, clock.Name(hostname))
	}
	return err
}

// SetClock sets the time.
func (g *Guest) SetClock(unixNanoseconds int64) error { return clock.Set(unixNanoseconds) }

// Processes counts what programs run.
func (g *Guest) Processes() int64 {
	if g.Tree == nil {
		return 0
	}
	return g.Tree.Processes()
}

// ScriptDrive tells what became of the second drive.
func (g *Guest) ScriptDrive() string { return g.Drive }

// End reboots, which ends the virtual machine.
func (g *Guest) End() {
	time.Sleep(endPause) // the result is still on its way through the port
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	select {}
}
