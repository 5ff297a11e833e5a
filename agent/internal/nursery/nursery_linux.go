// Package nursery keeps started programs waiting for runs (spec/waiting-interpreter.md).
package nursery

import (
	"slices"
	"sync"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/process"
)

const (
	readyBound = 280 * time.Second // large libraries may be imported first; the host waits for 300 s
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

// Plan is what waits.
type Plan struct {
	Ordered *Ordered // nil for no interpreter that takes orders
	Held    []Held
}

// Empty tells whether nothing waits.
func (p Plan) Empty() bool { return p.Ordered == nil && len(p.Held) == 0 }

func (p Plan) recipes() (recipes []recipe) {
	if p.Ordered != nil {
		recipes = append(recipes, p.Ordered)
	}
	for i := range p.Held {
		recipes = append(recipes, &p.Held[i])
	}
	return recipes
}

// Keep lets a full stock of all that is planned wait, and ends what else waits. What waits already stays. The error says why
// nothing does.
func (n *Nursery) Keep(plan Plan) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := slices.Clone(n.shelves)
	n.shelves = nil
	var failure error
	for _, recipe := range plan.recipes() {
		s := &shelf{nursery: n, recipe: recipe}
		if at := slices.IndexFunc(before, s.isLike); at >= 0 {
			s = before[at]
			before = slices.Delete(before, at, at+1)
		}
		n.shelves = append(n.shelves, s)
		if failure = s.fill(stock); failure != nil {
			break
		}
	}
	if failure != nil {
		before = append(before, n.shelves...)
		n.shelves = nil
	}
	for _, s := range before {
		s.stop()
	}
	return failure
}

// Stop ends all programs that wait.
func (n *Nursery) Stop() { _ = n.Keep(Plan{}) }

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
