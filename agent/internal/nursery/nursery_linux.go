// Package nursery keeps an interpreter waiting for the next run (spec/waiting-interpreter.md).
package nursery

import (
	"errors"
	"strings"
	"sync"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/process"
)

const (
	readyBound = 20 * time.Second
	forkBound  = 5 * time.Second
	maxOrder   = 131072
)

var errNothingWaits = errors.New("no interpreter waits")

// Nursery is one waiting interpreter and the child that it has ready. It is safe for use by several goroutines.
type Nursery struct {
	Reaper *process.Reaper
	// Groups makes the group of each child.
	Groups cgroup.Factory
	// Home makes the group of the interpreter itself.
	Home        func() (cgroup.Group, error)
	User        identity.User
	Environment environment.Base
	Work        string

	mu     sync.Mutex
	parent *parent
	ready  *ready
}

// ready is a child that waits for its order.
type ready struct {
	child *process.Child
	group cgroup.Group
	order *socket
}

// Prepare starts the interpreter and its first child, in place of one that waited before. The error says why none waits.
func (n *Nursery) Prepare(argv, env, preload []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
	group, err := n.Home()
	if err != nil {
		return err
	}
	added := append(append([]string{}, env...), "EMBERBOX_WAITING_FD=3", "EMBERBOX_WAITING_PRELOAD="+strings.Join(preload, ","))
	program := &process.Program{
		Argv: argv, Env: n.Environment.For(n.User, added), Dir: n.Work, User: n.User, Limits: process.DefaultLimits,
	}
	n.parent, err = start(n.Reaper, program, group)
	if err == nil {
		err = n.parent.awaitReady(readyBound)
	}
	if err == nil {
		err = n.refill()
	}
	if err != nil {
		n.stop()
	}
	return err
}

// Stop ends the interpreter and its child.
func (n *Nursery) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
}

// Refill implements process.Waiter.
func (n *Nursery) Refill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.parent != nil && n.refill() != nil {
		n.stop()
	}
}

func (n *Nursery) stop() {
	n.dropReady()
	if n.parent != nil {
		n.parent.close()
		n.parent = nil
	}
}

func (n *Nursery) dropReady() {
	if n.ready == nil {
		return
	}
	n.ready.order.close()
	n.ready.group.Kill()
	n.ready.group.Remove()
	n.ready = nil
}

// refill makes the next child wait; one that waits already and lives is kept.
func (n *Nursery) refill() error {
	if n.ready != nil {
		if _, ended := n.ready.child.Exit(); !ended {
			return nil
		}
		n.dropReady()
	}
	if n.parent == nil {
		return errNothingWaits
	}
	group, err := n.Groups.New()
	if err != nil {
		return err
	}
	ours, theirs, err := newPair()
	if err != nil {
		group.Remove()
		return err
	}
	child, err := n.Reaper.Start(func() (int, error) { return n.parent.fork(theirs, forkBound) })
	theirs.close()
	if err == nil {
		err = group.Add(child.PID)
	}
	if err != nil {
		ours.close()
		group.Kill()
		group.Remove()
		return err
	}
	n.ready = &ready{child, group, ours}
	return nil
}

// Take implements process.Waiter. Whatever fails here makes the run start its program the ordinary way.
func (n *Nursery) Take(p *process.Program, files [3]int) (*process.Child, cgroup.Group, bool) {
	order := orderOf(p)
	if len(order) > maxOrder {
		return nil, nil, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.parent == nil {
		return nil, nil, false
	}
	err := n.refill()
	if err == nil {
		err = n.ready.take(p, order, files)
	}
	if err != nil {
		n.stop()
		return nil, nil, false
	}
	taken := n.ready
	n.ready = nil
	taken.order.close()
	return taken.child, taken.group, true
}

func (r *ready) take(p *process.Program, order []byte, files [3]int) error {
	if err := r.group.Limit(p.Limits.MemoryBytes, p.Limits.Processes); err != nil {
		return err
	}
	p.Limits.Restrict(r.child.PID)
	return r.order.send(order, files[:])
}

// orderOf writes the order of spec/waiting-interpreter.md for a program.
func orderOf(p *process.Program) []byte {
	env := message.Build()
	for _, entry := range p.Env {
		name, value, _ := strings.Cut(entry, "=")
		env.Text(name, value)
	}
	path := p.Script.Path
	if !strings.HasPrefix(path, "/") {
		path = strings.TrimSuffix(p.Dir, "/") + "/" + path
	}
	return message.Build().
		Text("script", path).
		Texts("argv", append([]string{p.Script.Path}, p.Script.Args...)).
		Texts("orig_argv", p.Argv).
		Object("env", env).
		Text("cwd", p.Dir).
		Bytes()
}
