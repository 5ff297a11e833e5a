package trace

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

const (
	callInfoRequest = 0x420e // the same on every architecture, since Linux 5.3
	callStop        = syscall.SIGTRAP | 0x80
	optCallStop     = 0x1
	optClone        = 0x8
	optExitKill     = 0x100000
	infoEntry       = 1
	infoExit        = 2
	maxPath         = 4096
)

// Target says what a program is held at.
type Target struct {
	Folder string // where the program is started
	Script string // as the program is given it
	// Opened holds the program when it begins to read its script, which it opened before; else when it first names it.
	Opened bool
}

// Path is the script's absolute path.
func (t Target) Path() string {
	if path.IsAbs(t.Script) {
		return t.Script
	}
	return path.Join(t.Folder, t.Script)
}

// named tells whether a system call names the script, or something below it.
func (t Target) named(id int, call call) bool {
	at, ok := pathArgument[call.number]
	if !ok {
		return false
	}
	name, ok := readText(id, call.args[at])
	if !ok || name == "" {
		return false
	}
	if !path.IsAbs(name) {
		name = path.Join(t.Folder, name)
	}
	rest, ok := strings.CutPrefix(name, t.Path())
	return ok && (rest == "" || rest[0] == '/')
}

// call is a system call that a thread has come to, or comes from.
type call struct {
	entered bool
	number  uint64
	args    [6]uint64
	result  int64
}

func (c call) opens() bool { return opening[c.number] }

// uses tells whether a call looks at a file that is open, or reads it.
func (c call) uses(fd int) bool {
	if c.number == mapping {
		return int32(c.args[4]) == int32(fd)
	}
	return reading[c.number] && int32(c.args[0]) == int32(fd)
}

// callInfo is the kernel's struct ptrace_syscall_info.
type callInfo struct {
	op    uint8
	_     [3]uint8
	_     uint32
	_, _  uint64
	first uint64 // the number at the entry, the result at the exit
	args  [6]uint64
	_     [2]uint64
}

func callOf(id int) (call, bool) {
	var info callInfo
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, callInfoRequest, uintptr(id), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || n == 0 {
		return call{}, false
	}
	switch info.op {
	case infoEntry:
		return call{entered: true, number: info.first, args: info.args}, true
	case infoExit:
		return call{result: int64(info.first)}, true
	default:
		return call{}, false
	}
}

// readText reads a text that ends with NUL from a thread's memory.
func readText(id int, address uint64) (string, bool) {
	fd, err := syscall.Open("/proc/"+strconv.Itoa(id)+"/mem", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer func() { _ = syscall.Close(fd) }()
	var buffer [maxPath]byte
	n, _ := syscall.Pread(fd, buffer[:], int64(address)) // less than the whole where the memory ends behind the text
	end := bytes.IndexByte(buffer[:max(n, 0)], 0)
	if end < 0 {
		return "", false
	}
	return string(buffer[:end]), true
}

func setOptions(id int) error {
	return syscall.PtraceSetOptions(id, optCallStop|optClone|optExitKill)
}

func resume(id int, signal syscall.Signal) error { return syscall.PtraceSyscall(id, int(signal)) }

func detach(id int) error { return syscall.PtraceDetach(id) }

func stop(leader, id int) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(leader), uintptr(id), uintptr(syscall.SIGSTOP))
	if errno != 0 {
		return errno
	}
	return nil
}
