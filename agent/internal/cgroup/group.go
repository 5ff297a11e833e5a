// Package cgroup keeps each run's processes together: counted, limited and killable as one.
package cgroup

// Usage is what the processes of a group have used so far.
type Usage struct {
	UserMicroseconds   int64
	SystemMicroseconds int64
	PeakBytes          int64
	OutOfMemoryKills   int64
	DeniedProcesses    int64
}

// None is a limit that does not bound.
const None = -1

// Group is a set of processes. Its methods may be called after its processes have ended.
type Group interface {
	// FD returns a descriptor for starting a process within the group; ok is false where the host has no such means.
	FD() (fd int, ok bool)
	// Limit bounds the group's memory in bytes and its processes; None takes a bound away.
	Limit(memory, processes int64) error
	// Add moves a process into the group.
	Add(pid int) error
	// Kill ends all processes of the group, however they were made.
	Kill()
	// CPUMicroseconds is the CPU time of all processes together.
	CPUMicroseconds() int64
	// Usage is all that is counted.
	Usage() Usage
	// Thrashes tells whether the group does little but wait for pages that it had to give up for want of memory. It compares with its
	// last call, which should be about half a second ago, and needs three calls to be sure.
	Thrashes() bool
	// Remove gives the group back. It waits, bounded, for the processes that were killed.
	Remove()
}

// Factory makes groups.
type Factory interface {
	// New returns an empty group for one run.
	New() (Group, error)
	// Prepare makes the next group ahead of time.
	Prepare()
}
