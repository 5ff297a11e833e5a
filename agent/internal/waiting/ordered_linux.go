package waiting

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"emberbox.dev/agent/internal/process"
)

const maxOrder = 131072

var errUnready = errors.New("the waiting interpreter is not ready")

// Ordered is an interpreter that waits by itself, and becomes the program that an order names.
type Ordered struct{ Argv, Env, Preload []string }

func (o *Ordered) refills() bool { return true }

func (o *Ordered) program(n *Stocks) *process.Program {
	added := append(append([]string{}, o.Env...), "EMBERBOX_WAITING_FD=3", "EMBERBOX_WAITING_PRELOAD="+strings.Join(o.Preload, ","))
	return &process.Program{
		Argv: o.Argv, Env: n.Environment.For(n.User, added), Dir: n.Work, User: n.User, Limits: process.DefaultLimits,
	}
}

func (o *Ordered) start(w *waiting, program *process.Program, n *Stocks) error {
	ours, theirs, err := newPair()
	if err != nil {
		return err
	}
	defer theirs.close()
	w.hand = ours
	if err = w.open(program); err != nil {
		return err
	}
	defer w.pipes.CloseTheirs()
	if w.child, err = n.Reaper.Spawn(program, w.group, append(w.pipes.Theirs(), theirs.fd)); err != nil {
		return err
	}
	theirs.close() // so that its end is seen
	return w.awaitReady(ours, readyBound)
}

func (w *waiting) awaitReady(order *socket, bound time.Duration) error {
	answer, err := order.receive(bound)
	if err != nil {
		return w.withLastWords(err)
	}
	if answer == "ready" {
		return nil
	}
	if text, ok := strings.CutPrefix(answer, "error "); ok {
		return errors.New(text)
	}
	return w.withLastWords(errUnready)
}

// order writes the order of spec/waiting-interpreter.md.
func (o *Ordered) order(p *process.Program, n *Stocks) (order []byte, ok bool) {
	if p.Script == nil {
		return nil, false
	}
	path := p.Script.Path
	if !strings.HasPrefix(path, "/") {
		path = strings.TrimSuffix(p.Dir, "/") + "/" + path
	}
	order = append(append(order, path...), 0)
	if p.Dir != n.Work {
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

// give implements hand.
func (s *socket) give(_ *process.Program, order []byte) error {
	if err := s.send(order); err != nil {
		return err
	}
	s.close()
	return nil
}

func (s *socket) drop() { s.close() }
