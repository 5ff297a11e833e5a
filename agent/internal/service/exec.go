package service

import (
	"time"

	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/session"
)

const (
	maxMilliseconds = 1 << 40
	defaultMode     = 0o644
)

func (s *Service) exec(call *session.Call, fields *message.Reader) error {
	program, err := s.program(fields)
	if err != nil {
		return err
	}
	if err := s.stage(fields, program.User); err != nil {
		return err
	}
	s.Runner.Run(call, program)
	return nil
}

func (s *Service) program(fields *message.Reader) (*process.Program, error) {
	user, err := s.Users.Find(fields.Text("user", ""))
	if err != nil {
		return nil, err
	}
	added := fields.Pairs("env")
	p := &process.Program{
		Argv:  fields.Texts("argv"),
		Env:   s.Environment.For(user, added),
		Added: added,
		User:  user,
		Input: fields.Truth("stdin", false),
	}
	if len(p.Argv) == 0 {
		fields.Fail("argv", "must hold at least the program")
	}
	p.Limits = limits(fields)
	p.Usual = user == s.Users.Default
	if script, ok := fields.Object("waiting"); ok && p.Usual && !environment.ReadAtStart(added) {
		p.Script = &process.Script{Path: script.MustText("script"), Args: script.Texts("args")}
		fields.Adopt("waiting", script)
	}
	p.Dir, err = files.Resolve(s.Work, fields.Text("cwd", s.Work))
	if err == nil {
		err = checked(fields)
	}
	return p, err
}

func limits(fields *message.Reader) process.Limits {
	l := process.DefaultLimits
	from, ok := fields.Object("limits")
	if !ok {
		return l
	}
	l.Wall = milliseconds(from, "wall_ms", l.Wall)
	l.CPU = milliseconds(from, "cpu_ms", l.CPU)
	for _, one := range []struct {
		name   string
		target *int64
	}{
		{"memory_bytes", &l.MemoryBytes}, {"pids", &l.Processes}, {"open_files", &l.OpenFiles}, {"file_bytes", &l.FileBytes},
		{"stdout_keep", &l.OutputKeep[0]}, {"stderr_keep", &l.OutputKeep[1]}, {"output_max", &l.OutputMax},
	} {
		*one.target = from.Limit(one.name, *one.target, process.Unlimited)
	}
	fields.Adopt("limits", from)
	return l
}

func milliseconds(from *message.Reader, name string, fallback time.Duration) time.Duration {
	const missing = -2
	switch n := from.Limit(name, missing, process.Unlimited); n {
	case missing:
		return fallback
	case process.Unlimited:
		return process.Unlimited
	default:
		return time.Duration(min(n, maxMilliseconds)) * time.Millisecond
	}
}

// stage writes the files that come with the request, as the program's user.
func (s *Service) stage(fields *message.Reader, user identity.User) error {
	for _, file := range fields.Objects("files") {
		path, err := files.Resolve(s.Work, file.Path())
		if err != nil {
			return err
		}
		mode := uint32(file.Int("mode", defaultMode))
		data := file.Bytes("data")
		if problem := file.Problem(); problem != "" {
			return failure.BadRequest("files: " + problem)
		}
		if err := files.WriteAll(user, path, data, files.WriteOptions{Mode: mode, Parents: true}); err != nil {
			return err
		}
	}
	return checked(fields)
}
