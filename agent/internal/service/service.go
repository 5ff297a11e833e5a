// Package service carries out the requests of the guest protocol (section 3 of spec/guest-protocol.md).
package service

import (
	"runtime/debug"

	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/session"
	"emberbox.dev/agent/internal/waiting"
)

// Features are what this agent can do, as its HELLO says.
var Features = []string{"exec", "files", "tar", "waiting", "metrics", "clock"}

// Machine is what differs between a guest and a host that the agent is tried on.
type Machine interface {
	// Resize sets the room for files that programs write, in bytes.
	Resize(bytes int64) error
	// Disk returns the size of that room and how much of it is in use, in bytes.
	Disk() (total, used int64)
	// Separate gives the machine its own entropy, time and name.
	Separate(entropy []byte, unixNanoseconds int64, hostname string) error
	// SetClock sets the time.
	SetClock(unixNanoseconds int64) error
	// Processes counts what programs run.
	Processes() int64
	// ScriptDrive tells what became of the second drive: "", "mounted" or an error.
	ScriptDrive() string
	// End ends the machine. It does not return.
	End()
}

// Stocks keeps programs waiting.
type Stocks interface {
	// Keep lets all that is planned wait, and nothing else; the error says why nothing does.
	Keep(plan waiting.Plan) error
}

// Service is the agent's work.
type Service struct {
	Version     string
	Work        string
	Users       identity.Table
	Environment environment.Base
	Runner      *process.Runner
	Stocks      Stocks
	Machine     Machine
}

type handler func(s *Service, call *session.Call, fields *message.Reader) error

// Begin implements session.Service. What must be done before the next frame is read, and what is done at once, is done here;
// the rest gets a goroutine.
func (s *Service) Begin(call *session.Call) {
	work, inline := find(call.Request.Text("op"))
	if inline {
		s.handle(call, work)
	} else {
		go s.handle(call, work)
	}
}

func find(op string) (work handler, inline bool) {
	switch op {
	case "exec":
		return (*Service).exec, false
	case "ping":
		return (*Service).ping, true
	case "resume":
		return (*Service).resume, true
	case "clock":
		return (*Service).clock, true
	case "info":
		return (*Service).info, true
	case "metrics":
		return (*Service).metrics, false
	case "prepare":
		return (*Service).prepare, false
	case "flush":
		return (*Service).flush, false
	case "shutdown":
		return (*Service).shutdown, false
	}
	return findFiles(op), false
}

func findFiles(op string) handler {
	switch op {
	case "write_file":
		return (*Service).writeFile
	case "read_file":
		return (*Service).readFile
	case "list":
		return (*Service).list
	case "stat":
		return (*Service).stat
	case "make_directory":
		return (*Service).makeDirectory
	case "delete":
		return (*Service).delete
	case "tar_in":
		return (*Service).tarIn
	case "tar_out":
		return (*Service).tarOut
	}
	return (*Service).unknown
}

// handle sees to it that a mistake in one request does not end the agent.
func (s *Service) handle(call *session.Call, work handler) {
	defer func() {
		if fault := recover(); fault != nil {
			debug.PrintStack()
			call.Fail(failure.New("internal", "the agent has a fault in this request"))
		}
	}()
	if err := work(s, call, message.Read(call.Request)); err != nil {
		call.Fail(err)
	}
}

func (s *Service) unknown(call *session.Call, _ *message.Reader) error {
	return failure.New("unknown_op", "this agent does not know the op "+call.Request.Text("op"))
}

func (s *Service) ping(call *session.Call, _ *message.Reader) error {
	call.Succeed(nil)
	return nil
}

// checked turns the first mistake in a request's fields into its failure.
func checked(fields *message.Reader) error {
	if problem := fields.Problem(); problem != "" {
		return failure.BadRequest(problem)
	}
	return nil
}
