package process

import (
	"sync"
	"syscall"
	"time"
)

// Change is what became of a process or of one of its threads: it stopped for its tracer, or ended.
type Change struct {
	ID     int
	Status syscall.WaitStatus
}

// Watch receives every change that the reaper sees, for one tracer at a time: a process that is traced tells its stops to whoever
// waits for children, which only the reaper does.
type Watch struct {
	reaper  *Reaper
	mu      sync.Mutex
	came    sync.Cond
	changes []Change
	late    bool
}

// Watch begins to receive; what comes before its Close is not lost.
func (r *Reaper) Watch() *Watch {
	w := &Watch{reaper: r}
	w.came.L = &w.mu
	r.mu.Lock()
	r.watch = w
	r.mu.Unlock()
	return w
}

func (r *Reaper) tell(change Change) {
	r.mu.Lock()
	w := r.watch
	r.mu.Unlock()
	if w == nil {
		return
	}
	w.mu.Lock()
	w.changes = append(w.changes, change)
	w.came.Signal()
	w.mu.Unlock()
}

// Next returns the next change, or false at the time that Until set.
func (w *Watch) Next() (change Change, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.changes) == 0 && !w.late {
		w.came.Wait()
	}
	if len(w.changes) == 0 {
		return Change{}, false
	}
	change = w.changes[0]
	w.changes = w.changes[1:]
	return change, true
}

// Until bounds Next; the function returned takes the bound away.
func (w *Watch) Until(bound time.Duration) (cancel func()) {
	timer := time.AfterFunc(bound, func() {
		w.mu.Lock()
		w.late = true
		w.came.Signal()
		w.mu.Unlock()
	})
	return func() { timer.Stop() }
}

// Close ends it.
func (w *Watch) Close() {
	w.reaper.mu.Lock()
	defer w.reaper.mu.Unlock()
	if w.reaper.watch == w {
		w.reaper.watch = nil
	}
}
