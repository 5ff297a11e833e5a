package nursery

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/process"
)

const (
	maxLastWords  = 2000
	adoptionTries = 1000
	adoptionPause = 2 * time.Millisecond
)

// parent is the interpreter that waits and is forked.
type parent struct {
	child  *process.Child
	group  cgroup.Group
	socket *socket
	stdio  *process.Pipes
}

// start runs the interpreter with pipes, since a terminal or a file would leave its mark on the standard streams of its children.
func start(reaper *process.Reaper, program *process.Program, group cgroup.Group) (*parent, error) {
	ours, theirs, err := newPair()
	if err != nil {
		return nil, err
	}
	defer theirs.close()
	stdio, err := process.OpenPipes(true)
	if err != nil {
		ours.close()
		return nil, err
	}
	defer stdio.CloseTheirs()
	files := append(stdio.Theirs(), theirs.fd)
	child, err := reaper.Spawn(program, group, files)
	if err != nil {
		ours.close()
		stdio.CloseOurs()
		group.Remove()
		return nil, err
	}
	return &parent{child, group, ours, stdio}, nil
}

func (p *parent) close() {
	p.socket.close()
	p.group.Kill()
	p.group.Remove()
	p.stdio.CloseOurs()
}

func (p *parent) awaitReady(bound time.Duration) error {
	answer, err := p.socket.receive(bound)
	if err != nil {
		return p.withLastWords(err)
	}
	if value, _ := answer.Get("ready"); value.Truth {
		return nil
	}
	if text := answer.Text("error"); text != "" {
		return errors.New(text)
	}
	return p.withLastWords(errors.New("the waiting interpreter is not ready"))
}

// withLastWords adds what the interpreter wrote to standard error.
func (p *parent) withLastWords(err error) error {
	buffer := make([]byte, maxLastWords)
	n, _ := syscall.Read(p.stdio.Errors(), buffer)
	if text := bytes.TrimSpace(buffer[:max(n, 0)]); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// fork asks for a child that holds order, and returns its number once it is a child of the agent.
func (p *parent) fork(order *socket, bound time.Duration) (pid int, err error) {
	if err := p.socket.send([]byte(`{"fork": true}`), []int{order.fd}); err != nil {
		return 0, err
	}
	answer, err := p.socket.receive(bound)
	if err != nil {
		return 0, err
	}
	value, _ := answer.Get("pid")
	number, ok := value.Int()
	if !ok || number <= 1 || int(number) == p.child.PID {
		return 0, errors.New("the waiting interpreter did not name its child")
	}
	for range adoptionTries {
		if parentOf(int(number)) == os.Getpid() {
			return int(number), nil
		}
		time.Sleep(adoptionPause)
	}
	return 0, errors.New("the waiting interpreter's child is not the agent's")
}

func parentOf(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
