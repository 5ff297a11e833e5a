package waiting

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/trace"
)

const onlyPath = 0x200000 // O_PATH, the same on every architecture that the agent is built for

var errOther = errors.New("the held program has another file open in its script's place")

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

func (h *Held) refills() bool { return !h.Once && !h.Opened }

func (h *Held) program(n *Stocks) *process.Program {
	return &process.Program{
		Argv: h.Argv, Env: n.Environment.For(n.User, h.Env), Dir: n.Work, User: n.User, Limits: process.DefaultLimits, Traced: true,
	}
}

func (h *Held) start(w *waiting, program *process.Program, n *Stocks) error {
	target := trace.Target{Folder: n.Work, Script: h.Script, Opened: h.Opened}
	var empty fileID
	if h.Opened {
		var err error
		if empty, err = makeEmpty(n.User, target.Path()); err != nil {
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
		return w.withLastWords(fmt.Errorf("%s cannot be held at %s: %w", h.Argv[0], h.Script, err))
	}
	w.child, w.hand = held.Child, &grip{held, target.Path(), empty}
	return nil
}

// fileID tells one file from all others.
type fileID struct{ device, inode uint64 }

func identify(fd int) (fileID, error) {
	var stat syscall.Stat_t
	err := syscall.Fstat(fd, &stat)
	return fileID{stat.Dev, stat.Ino}, err
}

// makeEmpty makes a file that is not there yet: one that is there is somebody's.
func makeEmpty(user identity.User, path string) (made fileID, err error) {
	err = user.Act(func() error {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		made, err = identify(int(file.Fd()))
		return err
	})
	return made, err
}

// order is empty: the command line says it all.
func (h *Held) order(p *process.Program, n *Stocks) (order []byte, ok bool) {
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
	held  *trace.Held
	path  string
	empty fileID // what the program has open in the script's place
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
	target, err := g.target()
	if err != nil {
		return err
	}
	_, err = io.Copy(target, script)
	if closing := target.Close(); err == nil {
		err = closing
	}
	return err
}

// target opens for writing what the program has open for reading. It must be the file that was made for it: the agent may write
// where the program may not.
func (g *grip) target() (*os.File, error) {
	link := fmt.Sprintf("/proc/%d/fd/%d", g.held.Child.PID, g.held.Script)
	fd, err := syscall.Open(link, onlyPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	if found, err := identify(fd); err != nil || found != g.empty {
		return nil, errOther
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0)
}

func (g *grip) drop() { g.held.Drop() }
