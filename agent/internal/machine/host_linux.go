// Package machine is what the agent can do to the machine that it serves.
package machine

import (
	"os"
	"syscall"
)

// Host stands for a machine that is not the agent's own: nothing of it is changed.
type Host struct{ Work string }

// Resize has no effect.
func (Host) Resize(int64) error { return nil }

// Disk returns the size and use of the file system of the work folder.
func (h Host) Disk() (total, used int64) { return disk(h.Work) }

// Separate has no effect.
func (Host) Separate([]byte, int64, string) error { return nil }

// SetClock has no effect.
func (Host) SetClock(int64) error { return nil }

// Processes is not counted.
func (Host) Processes() int64 { return 0 }

// ScriptDrive is none.
func (Host) ScriptDrive() string { return "" }

// End ends the agent.
func (Host) End() { os.Exit(0) }

func disk(path string) (total, used int64) {
	var stat syscall.Statfs_t
	if syscall.Statfs(path, &stat) != nil {
		return 0, 0
	}
	return int64(stat.Blocks) * stat.Bsize, int64(stat.Blocks-stat.Bfree) * stat.Bsize
}
