package process

import (
	"os"
	"sync"
	"syscall"

	"emberbox.dev/agent/internal/cgroup"
)

// starts lets one program start at a time: the agent's own protection is off for that moment.
var starts sync.Mutex

// Spawn starts a program in a group, with the descriptors as its 0, 1, 2 and so on. The error is a *StartError.
func (r *Reaper) Spawn(p *Program, group cgroup.Group, files []int) (*Child, error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{Dir: p.Dir, Env: p.Env, Sys: &syscall.SysProcAttr{Setsid: true, Ptrace: p.Traced}}
	for _, fd := range files {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	if os.Geteuid() == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: p.User.ID, Gid: p.User.Group, Groups: []uint32{p.User.Group}}
	}
	fd, ok := group.FD()
	attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = ok, fd
	child, err := r.Start(func() (int, error) {
		starts.Lock()
		defer starts.Unlock()
		shield.set(false)
		defer shield.set(true)
		undo := r.lend(p.Limits)
		pid, err := syscall.ForkExec(path, p.Argv, attr)
		undo()
		if err == nil {
			p.Limits.Restrict(pid)
		}
		return pid, err
	})
	if err != nil {
		return nil, p.explain(err)
	}
	if !ok {
		_ = group.Add(child.PID)
	}
	return child, nil
}

const (
	fewChildren = 4
	fewFiles    = 64
)

// lend lets the agent itself have the program's limit of open files while it starts, so that the program has it from its first
// instruction. Where the agent's own descriptors might not fit, and where it is
// not process 1 and may lack the right to take its own limit back, the limit is set just after the start instead.
func (r *Reaper) lend(l Limits) (undo func()) {
	r.mu.Lock()
	busy := len(r.children) > fewChildren
	r.mu.Unlock()
	if busy || l.OpenFiles < fewFiles || l.OpenFiles == defaultOpenFiles || os.Getpid() != 1 {
		return func() {}
	}
	setOpenFiles(min(l.OpenFiles, maxOpenFiles))
	return func() { setOpenFiles(defaultOpenFiles) }
}

func setOpenFiles(number int64) {
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(number), Max: uint64(number)})
}
