package process

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// Unlimited stands for no bound.
const Unlimited = -1

// Limits bounds one run; Unlimited takes a bound away.
type Limits struct {
	Wall        time.Duration
	CPU         time.Duration
	MemoryBytes int64
	Processes   int64
	OpenFiles   int64
	FileBytes   int64
	OutputKeep  [2]int64 // standard output, standard error
	OutputMax   int64
}

// DefaultLimits are those of a request that names none.
var DefaultLimits = Limits{
	Wall:        30 * time.Second,
	CPU:         Unlimited,
	MemoryBytes: Unlimited,
	Processes:   256,
	OpenFiles:   defaultOpenFiles,
	FileBytes:   Unlimited,
	OutputKeep:  [2]int64{1 << 20, 1 << 20},
	OutputMax:   64 << 20,
}

const (
	defaultOpenFiles = 1024
	maxOpenFiles     = 1 << 20
	limitCore        = 4
	closeRange       = 436 // the same on every architecture
	firstInherited   = 3
	onExec           = 4
	infinity         = ^uint64(0)
)

// Protect gives the agent the limits that its children inherit, keeps descriptors that it was started with from them, and keeps the kernel from choosing it when memory runs out.
// It needs the rights of root; without them it does what it may.
func Protect() {
	syscall.Umask(0o022)
	syscall.RawSyscall(closeRange, firstInherited, ^uintptr(0)>>32, onExec)
	_ = syscall.Setrlimit(limitCore, &syscall.Rlimit{})
	setOpenFiles(defaultOpenFiles)
	if os.Getpid() == 1 {
		shield.open()
	}
}

// shielding keeps the agent out of the kernel's choice, but for the moment of a start: a child inherits the setting, and must not have it.
type shielding struct{ file *os.File }

var shield shielding

func (s *shielding) open() {
	file, err := os.OpenFile("/proc/self/oom_score_adj", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	s.file = file
	s.set(true)
}

func (s *shielding) set(on bool) {
	if s.file == nil {
		return
	}
	text := "0"
	if on {
		text = "-1000"
	}
	_, _ = s.file.WriteAt([]byte(text), 0)
}

// Restrict applies those limits of single processes that differ from what the agent's children inherit.
func (l Limits) Restrict(pid int) {
	if l.OpenFiles != defaultOpenFiles {
		limit(pid, syscall.RLIMIT_NOFILE, l.OpenFiles, maxOpenFiles)
	}
	if l.FileBytes != Unlimited {
		limit(pid, syscall.RLIMIT_FSIZE, l.FileBytes, infinity)
	}
}

func limit(pid, resource int, value int64, none uint64) {
	number := none
	if value != Unlimited {
		number = min(uint64(value), none)
	}
	rlimit := syscall.Rlimit{Cur: number, Max: number}
	syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), uintptr(resource), uintptr(unsafe.Pointer(&rlimit)), 0, 0, 0)
}
