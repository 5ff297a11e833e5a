package process

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/output"
	"emberbox.dev/agent/internal/session"
)

// fewBuffers is how many are kept for later runs.
const fewBuffers = 2

// Waiter hands a run to an interpreter that waits.
type Waiter interface {
	// Take lets a program that waits become this one; ok is false where none waits, or where the program has to be started the
	// ordinary way.
	Take(p *Program) (taken *Taken, ok bool)
}

// Taken is a waiting program that became the one to run, with the streams and the group that it had waited in.
type Taken struct {
	Child *Child
	Group cgroup.Group
	Pipes *Pipes
	// Spent is what the group had used when it began to wait.
	Spent cgroup.Usage
	// Refill lets the next one wait; nil where none does. It is called when the run is over.
	Refill func()
}

// Runner carries out runs.
type Runner struct {
	Reaper *Reaper
	Groups cgroup.Factory
	Waiter Waiter
	// Output is the folder whose use a result tells of.
	Output output.Folder

	mu      sync.Mutex
	idle    sync.Cond
	active  int
	buffers [][]byte
}

// NewRunner returns a runner.
func NewRunner(reaper *Reaper, groups cgroup.Factory, waiter Waiter) *Runner {
	r := &Runner{Reaper: reaper, Groups: groups, Waiter: waiter}
	r.idle.L = &r.mu
	return r
}

// AwaitIdle returns when no run is active, or false when that takes longer than the bound.
func (r *Runner) AwaitIdle(bound time.Duration) bool {
	late := false
	timer := time.AfterFunc(bound, func() {
		r.mu.Lock()
		late = true
		r.idle.Broadcast()
		r.mu.Unlock()
	})
	defer timer.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.active > 0 && !late {
		r.idle.Wait()
	}
	return r.active == 0
}

func (r *Runner) count(change int) {
	r.mu.Lock()
	r.active += change
	r.idle.Broadcast()
	r.mu.Unlock()
}

// Run carries out one program and finishes the call. What follows the result is done before it returns.
func (r *Runner) Run(call *session.Call, p *Program) {
	r.count(1)
	defer r.count(-1)
	call.End(session.Output)
	call.End(session.Errors)
	taken := r.run(call, p)
	if taken != nil && taken.Group != nil {
		taken.Group.Remove()
	}
	if taken != nil && taken.Refill != nil {
		taken.Refill()
	}
	r.Groups.Prepare()
}

func (r *Runner) run(call *session.Call, p *Program) *Taken {
	waker, err := newWaker()
	if err != nil {
		call.Fail(err)
		return nil
	}
	defer waker.close()
	began := time.Now()
	taken, waited, err := r.start(p)
	if err != nil {
		finishUnstarted(call, err)
		return taken
	}
	defer taken.Pipes.CloseOurs()
	work := newRun(call, p.Limits, taken, waker, r.lend())
	defer r.giveBack(work.buffer)
	work.began = began
	call.OnChange(waker.wake)
	work.child.OnExit(waker.wake)
	_ = call.Event(message.Build().Text("event", "started").Int("pid", int64(work.child.PID)).Bool("waiting", waited).Bytes())
	work.conduct()
	work.finish(r.Output)
	return taken
}

// start lets a program that waits become this one, or starts it. Where it fails, the group alone may be set.
func (r *Runner) start(p *Program) (taken *Taken, waited bool, err error) {
	if r.Waiter != nil {
		if taken, ok := r.Waiter.Take(p); ok {
			return taken, true, nil
		}
	}
	taken = &Taken{}
	if taken.Group, err = r.Groups.New(); err != nil {
		return taken, false, err
	}
	if err = taken.Group.Limit(p.Limits.MemoryBytes, p.Limits.Processes); err != nil {
		return taken, false, err
	}
	pipes, err := OpenPipes(p.Input, p.User)
	if err != nil {
		return taken, false, err
	}
	defer pipes.CloseTheirs()
	if taken.Child, err = r.Reaper.Spawn(p, taken.Group, pipes.Theirs()); err != nil {
		pipes.CloseOurs()
		return taken, false, err
	}
	taken.Pipes = pipes
	return taken, false, nil
}

// lend returns a buffer for a run's output: a new one costs an emulated guest more than the run may.
func (r *Runner) lend() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.buffers) - 1; last >= 0 {
		buffer := r.buffers[last]
		r.buffers = r.buffers[:last]
		return buffer
	}
	return make([]byte, frame.HeaderSize+frame.MaxData)
}

func (r *Runner) giveBack(buffer []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buffers) < fewBuffers {
		r.buffers = append(r.buffers, buffer)
	}
}

func finishUnstarted(call *session.Call, err error) {
	var failed *StartError
	if !errors.As(err, &failed) {
		call.Fail(err)
		return
	}
	call.Succeed(func(b *message.Builder) {
		b.Text("reason", "start_failed").Null("exit_code").Null("signal")
		b.Text("message", failed.Message).Text("errno_name", failed.ErrnoName())
		for _, name := range []string{"wall_us", "cpu_user_us", "cpu_system_us", "peak_memory_bytes", "stdout_bytes", "stderr_bytes", "pids_denied"} {
			b.Int(name, 0)
		}
	})
}

// finish sends the result.
func (r *run) finish(folder output.Folder) {
	r.call.OnChange(nil)
	usage := r.group.Usage()
	status := r.exit.Status
	reason := r.reason
	if reason == "" {
		reason = naturalEnd(status, usage)
	}
	main := r.exit.Usage
	usage.UserMicroseconds = max(usage.UserMicroseconds, microseconds(main.Utime)) - r.spent.UserMicroseconds
	usage.SystemMicroseconds = max(usage.SystemMicroseconds, microseconds(main.Stime)) - r.spent.SystemMicroseconds
	r.call.Succeed(func(b *message.Builder) {
		b.Text("reason", reason)
		if status.Exited() {
			b.Int("exit_code", int64(status.ExitStatus())).Null("signal")
		} else {
			b.Null("exit_code").Int("signal", int64(status.Signal()))
		}
		b.Int("wall_us", r.wall.Microseconds())
		b.Int("cpu_user_us", max(0, usage.UserMicroseconds))
		b.Int("cpu_system_us", max(0, usage.SystemMicroseconds))
		b.Int("peak_memory_bytes", max(usage.PeakBytes, main.Maxrss*1024))
		b.Int("stdout_bytes", r.outlets[0].count).Int("stderr_bytes", r.outlets[1].count)
		b.Int("pids_denied", usage.DeniedProcesses).Bool("output", folder.Used())
	})
}

func naturalEnd(status syscall.WaitStatus, usage cgroup.Usage) string {
	switch {
	case status.Exited():
		return "exited"
	case status.Signal() == syscall.SIGKILL && usage.OutOfMemoryKills > 0:
		return "out_of_memory"
	default:
		return "signalled"
	}
}

func microseconds(t syscall.Timeval) int64 { return t.Sec*1e6 + t.Usec }
