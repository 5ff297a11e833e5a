// Package nursery keeps interpreters waiting for runs (spec/waiting-interpreter.md).
package nursery

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/process"
)

const (
	readyBound = 120 * time.Second // large libraries may be imported first
	maxOrder   = 131072
	// stock is how many wait in a template: one to prime a clone with, one for its run.
	stock = 2
)

var errUnready = errors.New("the waiting interpreter is not ready")

// Nursery is a stock of waiting interpreters. It is safe for use by several goroutines.
type Nursery struct {
	Reaper *process.Reaper
	// Groups makes the group of each interpreter.
	Groups      cgroup.Factory
	User        identity.User
	Environment environment.Base
	Work        string

	mu      sync.Mutex
	recipe  *recipe
	waiting []*waiting
}

// recipe says how an interpreter is started.
type recipe struct{ argv, env, preload []string }

// Prepare starts interpreters, in place of those that waited before. The error says why none waits.
func (n *Nursery) Prepare(argv, env, preload []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
	n.recipe = &recipe{argv, env, preload}
	for range stock {
		if err := n.add(); err != nil {
			n.stop()
			return err
		}
	}
	return nil
}

// Stop ends all interpreters.
func (n *Nursery) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
}

func (n *Nursery) stop() {
	n.recipe = nil
	for _, w := range n.waiting {
		w.drop()
	}
	n.waiting = nil
}

// Refill implements process.Waiter: it starts another interpreter when none is left, and gives up where that fails.
func (n *Nursery) Refill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refill()
}

func (n *Nursery) refill() {
	if n.recipe != nil && len(n.waiting) == 0 && n.add() != nil {
		n.recipe = nil
	}
}

func (n *Nursery) add() error {
	r := n.recipe
	added := append(append([]string{}, r.env...), "EMBERBOX_WAITING_FD=3", "EMBERBOX_WAITING_PRELOAD="+strings.Join(r.preload, ","))
	program := &process.Program{
		Argv: r.argv, Env: n.Environment.For(n.User, added), Dir: n.Work, User: n.User, Limits: process.DefaultLimits,
	}
	group, err := n.Groups.New()
	if err != nil {
		return err
	}
	w, err := start(n.Reaper, program, group)
	if err != nil {
		group.Kill()
		group.Remove()
		return err
	}
	if err := w.awaitReady(readyBound); err != nil {
		w.drop()
		return err
	}
	w.spent = w.group.Usage()
	n.waiting = append(n.waiting, w)
	return nil
}

// Take implements process.Waiter. Whatever fails here makes the run start its program the ordinary way.
func (n *Nursery) Take(p *process.Program) (*process.Taken, bool) {
	order, ok := orderOf(p, n.Work)
	if !ok {
		return nil, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for range stock + 1 {
		n.refill() // a run that comes right behind another may be sooner than what follows that one
		if len(n.waiting) == 0 {
			break
		}
		w := n.waiting[0]
		n.waiting = n.waiting[1:]
		if _, ended := w.child.Exit(); !ended && w.obey(p, order) == nil {
			return &process.Taken{Child: w.child, Group: w.group, Pipes: w.pipes, Spent: w.spent}, true
		}
		w.drop()
	}
	return nil, false
}

// orderOf writes the order of spec/waiting-interpreter.md for a program, to an interpreter that waits in that folder; ok is false
// where it cannot be an order.
func orderOf(p *process.Program, folder string) (order []byte, ok bool) {
	path := p.Script.Path
	if !strings.HasPrefix(path, "/") {
		path = strings.TrimSuffix(p.Dir, "/") + "/" + path
	}
	order = append(append(order, path...), 0)
	if p.Dir != folder {
		order = append(order, p.Dir...)
	}
	order = strconv.AppendInt(append(order, 0), int64(len(p.Script.Args)+1), 10)
	order = append(append(order, 0), p.Script.Path...)
	for _, fields := range [2][]string{p.Script.Args, p.Added} {
		for _, field := range fields {
			order = append(append(order, 0), field...)
		}
	}
	return order, len(order) <= maxOrder
}
