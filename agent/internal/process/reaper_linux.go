// Package process starts programs, holds them to their limits, moves their streams and reaps them.
package process

import (
	"errors"
	"sync"
	"syscall"
)

var errKnown = errors.New("the process is already a child that is waited for")

// Exit is how a process ended.
type Exit struct {
	Status syscall.WaitStatus
	Usage  syscall.Rusage
}

// Child is a process that the reaper knows.
type Child struct {
	PID    int
	reaper *Reaper
	done   bool
	exit   Exit
	notify func()
}

// Reaper waits for every child of the agent, also for those that were left to it as process 1.
type Reaper struct {
	mu       sync.Mutex
	started  sync.Cond
	children map[int]*Child
	starting int
	early    map[int]Exit
	count    int
	watch    *Watch
}

// NewReaper returns a reaper that works until the agent ends.
func NewReaper() *Reaper {
	r := &Reaper{children: make(map[int]*Child), early: make(map[int]Exit)}
	r.started.L = &r.mu
	go r.work()
	return r
}

// Start calls start, which makes a child of the agent or learns of one, and returns it. The child's end is not missed,
// however soon it comes.
func (r *Reaper) Start(start func() (pid int, err error)) (*Child, error) {
	r.mu.Lock()
	r.starting++
	r.mu.Unlock()
	pid, err := start()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting--
	var child *Child
	if _, known := r.children[pid]; err == nil && known {
		err = errKnown
	}
	if err == nil {
		child = &Child{PID: pid, reaper: r}
		if exit, ended := r.early[pid]; ended {
			child.done, child.exit = true, exit
		} else {
			r.children[pid] = child
		}
		r.count++
		r.started.Signal()
	}
	if r.starting == 0 {
		clear(r.early)
	}
	return child, err
}

func (r *Reaper) work() {
	for {
		var exit Exit
		pid, err := syscall.Wait4(-1, &exit.Status, 0, &exit.Usage)
		switch {
		case pid > 0:
			r.tell(Change{pid, exit.Status})
			if !exit.Status.Stopped() {
				r.ended(pid, exit)
			}
		case errors.Is(err, syscall.ECHILD):
			r.rest()
		}
	}
}

// rest sleeps until a child has been started since the last rest.
func (r *Reaper) rest() {
	r.mu.Lock()
	for r.count == 0 {
		r.started.Wait()
	}
	r.count = 0
	r.mu.Unlock()
}

func (r *Reaper) ended(pid int, exit Exit) {
	r.mu.Lock()
	child := r.children[pid]
	if child == nil {
		if r.starting > 0 {
			r.early[pid] = exit
		}
		r.mu.Unlock()
		return
	}
	delete(r.children, pid)
	child.done, child.exit = true, exit
	notify := child.notify
	r.mu.Unlock()
	if notify != nil {
		notify()
	}
}

// OnExit sets what is called when the child has ended; at once if it has already.
func (c *Child) OnExit(notify func()) {
	c.reaper.mu.Lock()
	done := c.done
	c.notify = notify
	c.reaper.mu.Unlock()
	if done {
		notify()
	}
}

// Exit returns how the child ended; ok is false while it runs.
func (c *Child) Exit() (exit Exit, ok bool) {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	return c.exit, c.done
}

// Signal sends a signal to the child, never to another process that got its number.
func (c *Child) Signal(number int) {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	if !c.done {
		_ = syscall.Kill(c.PID, syscall.Signal(number))
	}
}
