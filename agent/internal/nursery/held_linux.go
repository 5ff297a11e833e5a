package nursery

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/trace"
)

// Held is a command that is started ahead of time and held where it first touches its script. It runs what asks for this very
// command, with the same variables, in the work folder.
type Held struct {
	Argv []string
	Env  []string // what a run adds to the environment
	// Script is the file that it is held at, as the command names it.
	Script string
	// Opened says that the program opens its script long before it reads it, and is held at the reading. No other is started
	// when those of the template are used up: the folder then holds a script already.
	Opened bool
	// Once says that no other is started when those of the template are used up.
	Once bool
}

func (h *Held) program(n *Nursery) *process.Program {
	return &process.Program{
		Argv: h.Argv, Env: n.Environment.For(n.User, h.Env), Dir: n.Work, User: n.User, Limits: process.DefaultLimits, Traced: true,
	}
}

func (h *Held) start(w *waiting, program *process.Program, n *Nursery) error {
	target := trace.Target{Folder: n.Work, Script: h.Script, Opened: h.Opened}
	if h.Opened {
		if err := makeEmpty(n.User, target.Path()); err != nil {
			return err
		}
		defer func() { _ = os.Remove(target.Path()) }()
	}
	if err := w.open(program); err != nil {
		return err
	}
	defer w.pipes.CloseTheirs()
	spawn := func() (*process.Child, error) { return n.Reaper.Spawn(program, w.group, w.pipes.Theirs()) }
	held, err := trace.Start(spawn, n.Reaper, target, readyBound)
	if err != nil {
		return w.withLastWords(err)
	}
	w.child, w.hand = held.Child, &grip{held, target.Path()}
	return nil
}

// makeEmpty makes a file that is not there yet: one that is there is somebody's.
func makeEmpty(user identity.User, path string) error {
	return user.Act(func() error {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		return file.Close()
	})
}

// order is empty: the command line says it all.
func (h *Held) order(p *process.Program, n *Nursery) (order []byte, ok bool) {
	return nil, p.Usual && p.Dir == n.Work && slices.Equal(p.Argv, h.Argv) && sameVariables(p.Added, h.Env)
}

func sameVariables(one, other []string) bool {
	if len(one) != len(other) {
		return false
	}
	one, other = slices.Clone(one), slices.Clone(other)
	slices.SortFunc(one, strings.Compare)
	slices.SortFunc(other, strings.Compare)
	return slices.Equal(one, other)
}

// grip is what holds a held program.
type grip struct {
	held *trace.Held
	path string
}

// give lets the program go on. One that has its script open has an empty file that nobody else can reach: it gets the script's content.
func (g *grip) give(p *process.Program, _ []byte) error {
	if g.held.Script != trace.None {
		if err := g.fill(p); err != nil {
			return err
		}
	}
	return g.held.Release()
}

func (g *grip) fill(p *process.Program) error {
	script, _, err := files.Open(p.User, g.path)
	if err != nil {
		return err
	}
	defer func() { _ = script.Close() }()
	link := fmt.Sprintf("/proc/%d/fd/%d", g.held.Child.PID, g.held.Script)
	target, err := os.OpenFile(link, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, script)
	if closing := target.Close(); err == nil {
		err = closing
	}
	return err
}

func (g *grip) drop() { g.held.Drop() }
