package waiting

import (
	"reflect"
	"sync"

	"emberbox.dev/agent/internal/process"
)

// recipe is a way to let programs wait.
type recipe interface {
	// program is what is started.
	program(n *Stocks) *process.Program
	// start runs it in the group and returns once it waits. Where it fails, the group is the caller's, and ends what was started.
	start(w *waiting, program *process.Program, n *Stocks) error
	// order returns what a waiting program is told to become p; ok is false where it cannot.
	order(p *process.Program, n *Stocks) (order []byte, ok bool)
	// refills tells whether others are started when those of the template are used up.
	refills() bool
}

// stock is a stock of programs that wait in one way.
type stock struct {
	owner  *Stocks
	recipe recipe

	mu      sync.Mutex
	stopped bool
	waiting []*waiting
}

// isLike tells whether another stock's programs could as well wait here.
func (s *stock) isLike(other *stock) bool {
	other.mu.Lock()
	defer other.mu.Unlock()
	return !other.stopped && reflect.DeepEqual(s.recipe, other.recipe)
}

// fill starts programs until so many wait.
func (s *stock) fill(number int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) < number {
		if err := s.add(); err != nil {
			return err
		}
	}
	return nil
}

// refill starts another when none is left, and gives up for good where that fails.
func (s *stock) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew()
}

func (s *stock) renew() {
	if s.recipe.refills() && !s.stopped && len(s.waiting) == 0 && s.add() != nil {
		s.stopped = true
	}
}

func (s *stock) add() error {
	group, err := s.owner.Groups.New()
	if err != nil {
		return err
	}
	w := &waiting{group: group}
	program := s.recipe.program(s.owner)
	if err = group.Limit(program.Limits.MemoryBytes, program.Limits.Processes); err == nil {
		err = s.recipe.start(w, program, s.owner)
	}
	if err != nil {
		w.drop()
		return err
	}
	w.spent = group.Usage()
	s.waiting = append(s.waiting, w)
	return nil
}

// take lets one of those that wait become the program.
func (s *stock) take(p *process.Program, order []byte) (*process.Taken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range perStock + 1 {
		s.renew() // a run that comes right behind another may be sooner than what follows that one
		if len(s.waiting) == 0 {
			break
		}
		w := s.waiting[0]
		s.waiting = s.waiting[1:]
		if _, ended := w.child.Exit(); !ended && w.obey(p, order) == nil {
			return &process.Taken{Child: w.child, Group: w.group, Pipes: w.pipes, Spent: w.spent}, true
		}
		w.drop()
	}
	return nil, false
}

func (s *stock) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, w := range s.waiting {
		w.drop()
	}
	s.waiting = nil
}
