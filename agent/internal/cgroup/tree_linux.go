package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	controllers   = "+memory +pids +cpu"
	removeTries   = 60
	removePause   = 5 * time.Millisecond
	reserveBytes  = 48 << 20
	reservePart   = 15 // percent
	createdMode   = 0o755
	unboundedText = "max"
)

// Tree is the guest's hierarchy: `agent` for the agent, `runs/N` for each run and each interpreter that waits for one.
type Tree struct {
	root  string
	mu    sync.Mutex
	next  int
	ready Group
	left  []string
}

// NewTree makes the hierarchy in a mounted cgroup2 file system and moves the agent into its own part.
// Memory that programs may use together is all but a reserve for the agent and the kernel.
func NewTree(root string, memoryTotal int64) (*Tree, error) {
	if err := put(filepath.Join(root, "cgroup.subtree_control"), controllers); err != nil {
		return nil, err
	}
	for _, name := range []string{"agent", "runs"} {
		if err := os.Mkdir(filepath.Join(root, name), createdMode); err != nil && !os.IsExist(err) {
			return nil, err
		}
	}
	if err := put(filepath.Join(root, "agent/cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
		return nil, err
	}
	runs := filepath.Join(root, "runs")
	if err := put(filepath.Join(runs, "cgroup.subtree_control"), controllers); err != nil {
		return nil, err
	}
	reserve := max(reserveBytes, memoryTotal*reservePart/100)
	if err := put(filepath.Join(runs, "memory.max"), strconv.FormatInt(max(memoryTotal-reserve, reserveBytes/4), 10)); err != nil {
		return nil, err
	}
	return &Tree{root: root}, nil
}

// New implements Factory.
func (t *Tree) New() (Group, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.ready; g != nil {
		t.ready = nil
		return g, nil
	}
	return t.create()
}

// Prepare implements Factory.
func (t *Tree) Prepare() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.left) - 1; i >= 0; i-- {
		if syscall.Rmdir(t.left[i]) == nil {
			t.left = append(t.left[:i], t.left[i+1:]...)
		}
	}
	if t.ready == nil {
		t.ready, _ = t.create()
	}
}

func (t *Tree) create() (Group, error) {
	t.next++
	path := filepath.Join(t.root, "runs", strconv.Itoa(t.next))
	if err := syscall.Mkdir(path, createdMode); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	g, err := openFolder(path, t.leave)
	if err != nil {
		_ = syscall.Rmdir(path)
		return nil, err
	}
	_ = put(path+"/memory.oom.group", "1")
	return g, nil
}

// leave keeps a group that could not be removed, to try again.
func (t *Tree) leave(path string) {
	t.mu.Lock()
	t.left = append(t.left, path)
	t.mu.Unlock()
}

// Processes counts the processes and threads of all runs.
func (t *Tree) Processes() int64 { return number(t.root + "/runs/pids.current") }

type folder struct {
	path  string
	fd    int
	leave func(string)
	thrash
	vmstat string
}

func openFolder(path string, leave func(string)) (*folder, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &folder{path: path, fd: fd, leave: leave, vmstat: "/proc/vmstat"}, nil
}

func (f *folder) FD() (int, bool) { return f.fd, true }

func (f *folder) Limit(memory, processes int64) error {
	if err := put(f.path+"/memory.max", bound(memory)); err != nil {
		return fmt.Errorf("cannot limit memory: %w", err)
	}
	if err := put(f.path+"/pids.max", bound(processes)); err != nil {
		return fmt.Errorf("cannot limit processes: %w", err)
	}
	return nil
}

func bound(limit int64) string {
	if limit == None {
		return unboundedText
	}
	return strconv.FormatInt(limit, 10)
}

func (f *folder) Add(pid int) error { return put(f.path+"/cgroup.procs", strconv.Itoa(pid)) }

func (f *folder) Kill() { _ = put(f.path+"/cgroup.kill", "1") }

func (f *folder) CPUMicroseconds() int64 {
	var buffer [512]byte
	return field(get(f.path+"/cpu.stat", buffer[:]), "usage_usec")
}

func (f *folder) Usage() Usage {
	var buffer [512]byte
	cpu := get(f.path+"/cpu.stat", buffer[:])
	usage := Usage{UserMicroseconds: field(cpu, "user_usec"), SystemMicroseconds: field(cpu, "system_usec")}
	usage.PeakBytes = number(f.path + "/memory.peak")
	usage.OutOfMemoryKills = field(get(f.path+"/memory.events", buffer[:]), "oom_kill")
	usage.DeniedProcesses = field(get(f.path+"/pids.events", buffer[:]), "max")
	return usage
}

func (f *folder) Remove() {
	_ = syscall.Close(f.fd)
	if f.leave == nil {
		return
	}
	for range removeTries {
		err := syscall.Rmdir(f.path)
		if err == nil || err == syscall.ENOENT {
			return
		}
		time.Sleep(removePause)
	}
	f.leave(f.path)
}
