package waiting

import (
	"bytes"
	"fmt"
	"syscall"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/process"
)

const maxLastWords = 2000

// waiting is one program that waits, with all that a run needs.
type waiting struct {
	child *process.Child
	group cgroup.Group
	pipes *process.Pipes
	spent cgroup.Usage
	hand  hand
}

// hand is what holds a waiting program.
type hand interface {
	// give tells it to become the program.
	give(p *process.Program, order []byte) error
	// drop lets it never run; it may come after give.
	drop()
}

// open gives it the streams of a program that reads input.
func (w *waiting) open(program *process.Program) (err error) {
	w.pipes, err = process.OpenPipes(true, program.User)
	return err
}

// drop ends a program that is not to run anything.
func (w *waiting) drop() {
	if w.hand != nil {
		w.hand.drop()
	}
	w.group.Kill()
	if w.pipes != nil {
		w.pipes.CloseOurs()
	}
	w.group.Remove()
}

// withLastWords adds what the program wrote to standard error.
func (w *waiting) withLastWords(err error) error {
	buffer := make([]byte, maxLastWords)
	n, _ := syscall.Read(w.pipes.Errors(), buffer)
	if text := bytes.TrimSpace(buffer[:max(n, 0)]); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// obey makes it the program. It was started with the default limits, so only others are applied.
func (w *waiting) obey(p *process.Program, order []byte) error {
	if p.Limits.MemoryBytes != process.DefaultLimits.MemoryBytes || p.Limits.Processes != process.DefaultLimits.Processes {
		if err := w.group.Limit(p.Limits.MemoryBytes, p.Limits.Processes); err != nil {
			return err
		}
	}
	p.Limits.Restrict(w.child.PID)
	if err := w.hand.give(p, order); err != nil {
		return err
	}
	if !p.Input {
		w.pipes.CloseInput()
	}
	return nil
}
