// Package nursery keeps started programs waiting for runs (spec/waiting-interpreter.md).
package nursery

import (
	"sync"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/process"
)

const (
	readyBound = 120 * time.Second // large libraries may be imported first
	// stock is how many of each wait in a template: one to prime a clone with, one for its run.
	stock = 2
)

// Nursery holds the stocks of programs that wait. It is safe for use by several goroutines.
type Nursery struct {
	Reaper *process.Reaper
	// Groups makes the group of each program.
	Groups      cgroup.Factory
	User        identity.User
	Environment environment.Base
	Work        string

	mu      sync.Mutex
	shelves []*shelf
}

// Wait starts interpreters that take orders. The error says why none waits.
func (n *Nursery) Wait(argv, env, preload []string) error {
	return n.keep(&shelf{nursery: n, recipe: &ordered{argv: argv, env: env, preload: preload}, refills: true})
}

// Hold starts a command and holds it where it touches its script. The error says why it cannot be held.
func (n *Nursery) Hold(command Held) error {
	return n.keep(&shelf{nursery: n, recipe: &command, refills: !command.Once && !command.Opened})
}

func (n *Nursery) keep(s *shelf) error {
	if err := s.fill(stock); err != nil {
		s.stop()
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shelves = append(n.shelves, s)
	return nil
}

// Stop ends all programs that wait.
func (n *Nursery) Stop() {
	n.mu.Lock()
	shelves := n.shelves
	n.shelves = nil
	n.mu.Unlock()
	for _, s := range shelves {
		s.stop()
	}
}

func (n *Nursery) all() []*shelf {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.shelves
}

// Take implements process.Waiter. Whatever fails here makes the run start its program the ordinary way.
func (n *Nursery) Take(p *process.Program) (*process.Taken, bool) {
	for _, s := range n.all() {
		if order, ok := s.recipe.order(p, n); ok {
			if taken, ok := s.take(p, order); ok {
				taken.Refill = s.refill
				return taken, true
			}
		}
	}
	return nil, false
}
