package service

import (
	"runtime"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/clock"
	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/metrics"
	"emberbox.dev/agent/internal/session"
)

const (
	minEntropy   = 32
	maxEntropy   = 512
	maxHostname  = 64
	idleDeadline = 20 * time.Second
)

func (s *Service) info(call *session.Call, _ *message.Reader) error {
	call.Succeed(func(b *message.Builder) {
		b.Text("agent", s.Version).Text("kernel", metrics.Kernel()).Int("uptime_ms", metrics.Uptime())
		b.Int("memory_total", metrics.MemoryTotal()).Int("cpus", int64(runtime.NumCPU())).Texts("features", Features)
		b.TextOrNull("script_drive", s.Machine.ScriptDrive())
	})
	return nil
}

func (s *Service) metrics(call *session.Call, _ *message.Reader) error {
	m := metrics.Read()
	total, used := s.Machine.Disk()
	call.Succeed(func(b *message.Builder) {
		b.Int("uptime_ms", m.UptimeMS).Int("cpu_user_ms", m.CPUUserMS).Int("cpu_system_ms", m.CPUSystemMS)
		b.Int("memory_total", m.MemoryTotal).Int("memory_available", m.MemoryAvailable)
		b.Int("disk_total", total).Int("disk_used", used)
		b.Int("processes", s.Machine.Processes()).Float("load1", m.Load1)
	})
	return nil
}

func (s *Service) resume(call *session.Call, fields *message.Reader) error {
	entropy := fields.Bytes("entropy")
	if len(entropy) < minEntropy || len(entropy) > maxEntropy {
		fields.Fail("entropy", "must be 32 to 512 bytes")
	}
	now := fields.Int("unix_ns", 0)
	hostname := fields.Text("hostname", "")
	if len(hostname) > maxHostname {
		fields.Fail("hostname", "must be at most 64 bytes")
	}
	const keep = -1
	disk := fields.Limit("disk_bytes", keep, keep)
	if err := checked(fields); err != nil {
		return err
	}
	if err := s.Machine.Separate(entropy, now, hostname); err != nil {
		return err
	}
	if disk != keep {
		if err := s.Machine.Resize(disk); err != nil {
			return err
		}
	}
	call.Succeed(func(b *message.Builder) { b.Int("unix_ns", clock.Now()) })
	return nil
}

func (s *Service) clock(call *session.Call, fields *message.Reader) error {
	now := fields.Int("unix_ns", 0)
	if !fields.Has("unix_ns") {
		fields.Fail("unix_ns", "is missing")
	}
	if err := checked(fields); err != nil {
		return err
	}
	before := clock.Now()
	if err := s.Machine.SetClock(now); err != nil {
		return err
	}
	call.Succeed(func(b *message.Builder) { b.Int("before_unix_ns", before).Int("unix_ns", clock.Now()) })
	return nil
}

func (s *Service) prepare(call *session.Call, fields *message.Reader) error {
	const keep = -1
	work := fields.Limit("work_bytes", keep, keep)
	plan, err := waitingPlan(fields)
	if err != nil {
		return err
	}
	if work != keep {
		if err := s.Machine.Resize(work); err != nil {
			return err
		}
	}
	problem := ""
	if err := s.Stocks.Keep(plan); err != nil {
		problem = err.Error()
	}
	s.Runner.Groups.Prepare()
	call.Succeed(func(b *message.Builder) {
		b.Bool("waiting", !plan.Empty() && problem == "").TextOrNull("waiting_error", problem)
	})
	return nil
}

func (s *Service) flush(call *session.Call, _ *message.Reader) error {
	if !s.Runner.AwaitIdle(idleDeadline) {
		return failure.New("busy", "a program still runs")
	}
	runtime.GC()
	syscall.Sync()
	call.Succeed(nil)
	return nil
}

func (s *Service) shutdown(call *session.Call, _ *message.Reader) error {
	call.Succeed(nil)
	s.Machine.End()
	return nil
}
