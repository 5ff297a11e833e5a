// Package trace starts a program and holds it at the system call by which it first touches its script.
package trace

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/process"
)

var (
	errEnded = errors.New("the program ended before it touched its script")
	errLate  = errors.New("the program does not touch its script")
	errGone  = errors.New("the held program is gone")
)

// one lets one program at a time be brought to where it is held: the reaper tells one tracer of stops.
var one sync.Mutex

// Held is a program that was stopped as it was about to touch its script, and has done nothing since.
type Held struct {
	Child *process.Child
	// Script is the descriptor by which the program has its script open already; None where it has yet to open it.
	Script int

	free chan bool
	done chan error
}

// None stands for no descriptor.
const None = -1

// Start spawns a program and returns once it is held. Where it fails, what was spawned is ended by the caller, by its group.
// The thread that traces a program is the only one that may let it go: it stays with the program.
func Start(spawn func() (*process.Child, error), reaper *process.Reaper, target Target, bound time.Duration) (*Held, error) {
	h := &Held{Script: None, free: make(chan bool, 1), done: make(chan error, 1)}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it traced
		id, err := h.bring(spawn, reaper, target, bound)
		ready <- err
		if err == nil && <-h.free {
			h.done <- detach(id)
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return h, nil
}

// Release lets the program go on.
func (h *Held) Release() error {
	h.free <- true
	if err := <-h.done; err != nil {
		return errGone
	}
	return nil
}

// Drop gives the program up, which ends with its tracer.
func (h *Held) Drop() {
	select {
	case h.free <- false:
	default: // it was given up before
	}
}

// bring returns the thread that is held.
func (h *Held) bring(spawn func() (*process.Child, error), reaper *process.Reaper, target Target, bound time.Duration) (int, error) {
	one.Lock()
	defer one.Unlock()
	watch := reaper.Watch()
	defer watch.Close()
	defer watch.Until(bound)()
	child, err := spawn()
	if err != nil {
		return 0, err
	}
	h.Child = child
	t := &tracer{watch: watch, leader: child.PID, target: target, script: None, threads: map[int]state{}}
	id, err := t.follow()
	if err == nil {
		h.Script = t.script
		err = t.leave(id)
	}
	return id, err
}

// tracer follows the threads of a program.
type tracer struct {
	watch   *process.Watch
	target  Target
	leader  int
	threads map[int]state
	script  int
	opening int // the thread that is in the call that opens the script
	leaving bool
}

// state is what is known of a thread: its parent tells of it, and its own first stop comes before or after that.
type state int

const (
	expected state = iota + 1 // told of by its parent
	early                     // stopped, but not told of yet
	followed
)

// event is a stop of a followed thread.
type event struct {
	id     int
	status syscall.WaitStatus
	fresh  bool // its first
}

// next returns the next stop of a thread of the program. A thread whose parent has not told of it yet stays stopped.
func (t *tracer) next() (event, error) {
	for {
		change, ok := t.watch.Next()
		if !ok {
			return event{}, errLate
		}
		if !change.Status.Stopped() {
			if change.ID == t.leader {
				return event{}, errEnded
			}
			delete(t.threads, change.ID)
			continue
		}
		switch t.threads[change.ID] {
		case followed:
			return event{change.ID, change.Status, false}, nil
		case expected:
			t.threads[change.ID] = followed
			return event{change.ID, change.Status, true}, nil
		default:
			t.threads[change.ID] = early
		}
	}
}

// welcome takes in the thread that a thread has just made. One that has stopped already goes on.
func (t *tracer) welcome(parent int) {
	made, err := syscall.PtraceGetEventMsg(parent)
	if err != nil {
		return
	}
	id := int(made)
	switch {
	case t.threads[id] != early:
		t.threads[id] = expected
	case t.leaving:
		delete(t.threads, id)
		_ = detach(id)
	default:
		t.threads[id] = followed
		_ = resume(id, 0)
	}
}

// follow lets the program run from one system call to the next until it touches its script, and returns the thread that does.
func (t *tracer) follow() (int, error) {
	t.threads[t.leader] = expected
	for {
		e, err := t.next()
		if err != nil {
			return 0, err
		}
		if e.fresh && e.id == t.leader {
			if err := setOptions(e.id); err != nil {
				return 0, err
			}
		}
		if e.status.StopSignal() == callStop && t.arrived(e.id) {
			return e.id, nil
		}
		t.goOn(e)
	}
}

// goOn lets a thread run to its next system call, and passes on a signal that was on its way to it.
func (t *tracer) goOn(e event) {
	signal := e.status.StopSignal()
	if e.status.TrapCause() == syscall.PTRACE_EVENT_CLONE {
		t.welcome(e.id)
	}
	if signal == syscall.SIGTRAP || signal == callStop || (e.fresh && signal == syscall.SIGSTOP) {
		signal = 0
	}
	_ = resume(e.id, signal) // a thread that is gone tells so by its end
}

// arrived tells whether the thread, which is at a system call, is where the program is to be held.
func (t *tracer) arrived(id int) bool {
	call, ok := callOf(id)
	if !ok {
		return false
	}
	if !t.target.Opened {
		return call.entered && t.target.named(id, call)
	}
	if t.script != None {
		return call.entered && call.uses(t.script)
	}
	switch {
	case call.entered && call.opens() && t.target.named(id, call):
		t.opening = id
	case !call.entered && t.opening == id:
		t.opening = 0
		if call.result >= 0 {
			t.script = int(call.result)
		}
	}
	return false
}

// leave stops all threads but the held one for the moment that it takes to be no longer traced: they go on by themselves.
func (t *tracer) leave(held int) error {
	t.leaving = true
	delete(t.threads, held)
	for id, state := range t.threads {
		if state == followed { // others stop by themselves at their start
			_ = stop(t.leader, id)
		}
	}
	for t.any() {
		e, err := t.next()
		if err != nil {
			return err
		}
		if e.status.StopSignal() != syscall.SIGSTOP {
			t.goOn(e)
			continue
		}
		if err := detach(e.id); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		delete(t.threads, e.id)
	}
	return nil
}

// any tells whether a thread is still traced besides the held one.
func (t *tracer) any() bool {
	for _, state := range t.threads {
		if state != early {
			return true
		}
	}
	return false
}
