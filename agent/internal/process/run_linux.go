package process

import (
	"errors"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/poll"
	"emberbox.dev/agent/internal/session"
)

const (
	drainTime   = 2 * time.Second
	drainBytes  = 2 << 20
	cpuPollLow  = 5 * time.Millisecond
	cpuPollHigh = time.Second
	memoryPoll  = 500 * time.Millisecond
)

// run is one program at work. One goroutine does it all: it sleeps in poll and moves streams, commands and limits in turn.
type run struct {
	call    *session.Call
	child   *Child
	group   cgroup.Group
	spent   cgroup.Usage
	limits  Limits
	pipes   *Pipes
	waker   *waker
	outlets [2]outlet
	buffer  []byte

	began    time.Time
	cpuCheck time.Time
	memCheck time.Time
	reason   string // why the agent killed it, "" where it did not
	wall     time.Duration
	exit     Exit
}

func newRun(call *session.Call, limits Limits, taken *Taken, waker *waker, buffer []byte) *run {
	r := &run{call: call, child: taken.Child, group: taken.Group, spent: taken.Spent, limits: limits, pipes: taken.Pipes, waker: waker, buffer: buffer}
	for i := range r.outlets {
		r.outlets[i] = outlet{stream: i + 1, fd: &taken.Pipes.ours[i+1], keep: limits.OutputKeep[i]}
	}
	return r
}

// conduct returns when the program has ended and all that its pipes held is sent.
func (r *run) conduct() {
	if r.pipes.ours[session.Input] == closed {
		r.call.Discard()
	}
	r.memCheck = time.Now().Add(memoryPoll)
	for !r.ended() {
		r.enforce() // first: a command may have come before anything could wake this goroutine
		r.step(r.untilDeadline())
	}
	r.group.Kill()
	shut(&r.pipes.ours[session.Input])
	r.call.Discard()
	r.drain()
}

func (r *run) ended() bool {
	exit, ok := r.child.Exit()
	if ok {
		r.exit = exit
		r.wall = time.Since(r.began)
	}
	return ok
}

// step sleeps until something can be done and does it; idle tells that the timeout came first although an output was waited for.
func (r *run) step(timeout time.Duration) (idle bool) {
	var fds [4]poll.FD
	fds[3] = poll.FD{FD: int32(r.waker.fd), Events: poll.In}
	fds[0] = poll.FD{FD: closed, Events: poll.Out}
	if r.hasInput() {
		fds[0].FD = int32(r.pipes.ours[session.Input])
	}
	listening := false
	for i := range r.outlets {
		o := &r.outlets[i]
		fds[o.stream] = poll.FD{FD: closed, Events: poll.In}
		if size, _ := o.room(r.call); *o.fd != closed && size > 0 {
			fds[o.stream].FD = int32(*o.fd)
			listening = true
		}
	}
	ready, err := poll.Wait(fds[:], timeout)
	if err != nil || ready == 0 {
		return listening && err == nil
	}
	if fds[3].Got != 0 {
		r.waker.clear()
	}
	if fds[0].Got != 0 {
		r.feed()
	}
	for i := range r.outlets {
		if fds[r.outlets[i].stream].Got != 0 {
			r.outlets[i].pump(r.call, r.buffer)
		}
	}
	return false
}

// hasInput tells whether input waits for room in the program's pipe, and closes the pipe at the input's end.
func (r *run) hasInput() bool {
	fd := &r.pipes.ours[session.Input]
	if *fd == closed {
		return false
	}
	chunk, ended := r.call.Peek()
	if ended {
		shut(fd)
	}
	return chunk != nil
}

func (r *run) feed() {
	chunk, _ := r.call.Peek()
	if chunk == nil {
		return
	}
	n, err := syscall.Write(r.pipes.ours[session.Input], chunk)
	switch {
	case n > 0:
		r.call.Consume(n)
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
	default:
		shut(&r.pipes.ours[session.Input])
		r.call.Discard()
	}
}

// untilDeadline is how long the program may be left alone.
func (r *run) untilDeadline() time.Duration {
	if r.reason != "" {
		return poll.Forever
	}
	wait := max(0, time.Until(r.memCheck))
	if r.limits.Wall != Unlimited {
		wait = min(wait, max(0, r.limits.Wall-time.Since(r.began)))
	}
	if r.limits.CPU != Unlimited {
		wait = min(wait, max(0, time.Until(r.cpuCheck)))
	}
	return wait
}

// enforce carries out commands and limits.
func (r *run) enforce() {
	for _, command := range r.call.Commands() {
		if command.Kill {
			r.group.Kill()
		} else {
			r.child.Signal(command.Signal)
		}
	}
	if r.reason != "" {
		return
	}
	switch {
	case r.call.Cancelled():
		r.kill("cancelled")
	case r.limits.Wall != Unlimited && time.Since(r.began) >= r.limits.Wall:
		r.kill("timed_out")
	case r.limits.OutputMax != Unlimited && r.outlets[0].count+r.outlets[1].count > r.limits.OutputMax:
		r.kill("output_limit")
	case r.limits.CPU != Unlimited && r.usedUp():
		r.kill("cpu_limit")
	case r.thrashes():
		r.kill("out_of_memory")
	}
}

func (r *run) thrashes() bool {
	if now := time.Now(); !now.Before(r.memCheck) {
		r.memCheck = now.Add(memoryPoll)
		return r.group.Thrashes()
	}
	return false
}

// usedUp looks at the CPU time no more often than it can reach its limit on one processor.
func (r *run) usedUp() bool {
	now := time.Now()
	if now.Before(r.cpuCheck) {
		return false
	}
	used := r.group.CPUMicroseconds() - r.spent.UserMicroseconds - r.spent.SystemMicroseconds
	left := r.limits.CPU - time.Duration(used)*time.Microsecond
	r.cpuCheck = now.Add(min(max(left, cpuPollLow), cpuPollHigh))
	return left <= 0
}

func (r *run) kill(reason string) {
	if _, over := r.child.Exit(); over {
		return
	}
	r.reason = reason
	r.group.Kill()
}

// drain sends what the pipes still hold. Waiting for their end is bounded; waiting for the host's credit ends with its cancellation.
func (r *run) drain() {
	var limit [2]int64
	for i := range r.outlets {
		limit[i] = r.outlets[i].count + drainBytes
	}
	for r.pipes.ours[session.Output] != closed || r.pipes.ours[session.Errors] != closed {
		if r.call.Cancelled() {
			r.outlets[0].keep, r.outlets[1].keep = 0, 0
		}
		if r.step(drainTime) {
			return
		}
		for i := range r.outlets {
			if r.outlets[i].count > limit[i] {
				shut(r.outlets[i].fd)
			}
		}
	}
}
