package cgroup

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// clockTick is the kernel's USER_HZ in microseconds.
const clockTick = 10000

// Bare makes groups where there is no cgroup2: a group is its main process's process group. Limits are not enforced, and what leaves
// the process group is not found. It serves tests on a host.
type Bare struct{}

// New implements Factory.
func (Bare) New() (Group, error) { return &bare{}, nil }

// Prepare implements Factory.
func (Bare) Prepare() {}

type bare struct {
	mu  sync.Mutex
	pid int
}

func (b *bare) FD() (int, bool)          { return 0, false }
func (b *bare) Limit(int64, int64) error { return nil }
func (b *bare) Remove()                  {}
func (b *bare) Thrashes() bool           { return false }

func (b *bare) Add(pid int) error {
	b.mu.Lock()
	b.pid = pid
	b.mu.Unlock()
	return nil
}

func (b *bare) main() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pid
}

func (b *bare) Kill() {
	if pid := b.main(); pid > 1 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (b *bare) CPUMicroseconds() int64 {
	usage := b.Usage()
	return usage.UserMicroseconds + usage.SystemMicroseconds
}

func (b *bare) Usage() Usage {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(b.main()) + "/stat")
	if err != nil {
		return Usage{}
	}
	const user, system = 11, 12 // counted behind the name in brackets
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= system {
		return Usage{}
	}
	u, _ := strconv.ParseInt(fields[user], 10, 64)
	s, _ := strconv.ParseInt(fields[system], 10, 64)
	return Usage{UserMicroseconds: u * clockTick, SystemMicroseconds: s * clockTick}
}
