package nursery

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/process"
)

const maxLastWords = 2000

// waiting is one interpreter that waits for its order, with all that a run needs.
type waiting struct {
	child *process.Child
	group cgroup.Group
	order *socket
	pipes *process.Pipes
	spent cgroup.Usage
}

// start runs an interpreter in its group. Where it fails, the group is the caller's.
func start(reaper *process.Reaper, program *process.Program, group cgroup.Group) (*waiting, error) {
	if err := group.Limit(program.Limits.MemoryBytes, program.Limits.Processes); err != nil {
		return nil, err
	}
	ours, theirs, err := newPair()
	if err != nil {
		return nil, err
	}
	defer theirs.close()
	pipes, err := process.OpenPipes(true, program.User)
	if err != nil {
		ours.close()
		return nil, err
	}
	defer pipes.CloseTheirs()
	child, err := reaper.Spawn(program, group, append(pipes.Theirs(), theirs.fd))
	if err != nil {
		ours.close()
		pipes.CloseOurs()
		return nil, err
	}
	return &waiting{child: child, group: group, order: ours, pipes: pipes}, nil
}

// drop ends an interpreter that is not to run anything.
func (w *waiting) drop() {
	w.order.close()
	w.group.Kill()
	w.pipes.CloseOurs()
	w.group.Remove()
}

func (w *waiting) awaitReady(bound time.Duration) error {
	answer, err := w.order.receive(bound)
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

// withLastWords adds what the interpreter wrote to standard error.
func (w *waiting) withLastWords(err error) error {
	buffer := make([]byte, maxLastWords)
	n, _ := syscall.Read(w.pipes.Errors(), buffer)
	if text := bytes.TrimSpace(buffer[:max(n, 0)]); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// obey makes the interpreter the program. It was started with the default limits, so only others are applied.
func (w *waiting) obey(p *process.Program, order []byte) error {
	if p.Limits.MemoryBytes != process.DefaultLimits.MemoryBytes || p.Limits.Processes != process.DefaultLimits.Processes {
		if err := w.group.Limit(p.Limits.MemoryBytes, p.Limits.Processes); err != nil {
			return err
		}
	}
	p.Limits.Restrict(w.child.PID)
	if err := w.order.send(order); err != nil {
		return err
	}
	w.order.close()
	if !p.Input {
		w.pipes.CloseInput()
	}
	return nil
}
