// Package waiting keeps started programs waiting for runs (spec/waiting-interpreter.md).
package waiting

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
	// perStock is how many of each wait in a template: one to prime a clone with, one for its run.
	perStock = 2
)

// Stocks holds the stocks of programs that wait. It is safe for use by several goroutines.
type Stocks struct {
	Reaper *process.Reaper
	// Groups makes the group of each program.
	Groups      cgroup.Factory
	User        identity.User
	Environment environment.Base
	Work        string

	mu     sync.Mutex
	stocks []*stock
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
func (n *Stocks) Keep(plan Plan) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := slices.Clone(n.stocks)
	n.stocks = nil
	var failure error
	for _, recipe := range plan.recipes() {
		s := &stock{owner: n, recipe: recipe}
		if at := slices.IndexFunc(before, s.isLike); at >= 0 {
			s = before[at]
			before = slices.Delete(before, at, at+1)
		}
		n.stocks = append(n.stocks, s)
		if failure = s.fill(perStock); failure != nil {
			break
		}
	}
	if failure != nil {
		before = append(before, n.stocks...)
		n.stocks = nil
	}
	for _, s := range before {
		s.stop()
	}
	return failure
}

// Stop ends all programs that wait.
func (n *Stocks) Stop() { _ = n.Keep(Plan{}) }

func (n *Stocks) all() []*stock {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stocks
}

// Take implements process.Waiter. Whatever fails here makes the run start its program the ordinary way.
func (n *Stocks) Take(p *process.Program) (*process.Taken, bool) {
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
