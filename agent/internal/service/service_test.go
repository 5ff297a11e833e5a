package service_test

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/machine"
	"emberbox.dev/agent/internal/process"
	"emberbox.dev/agent/internal/service"
	"emberbox.dev/agent/internal/session"
	"emberbox.dev/agent/internal/waiting"
)

const patience = 3 * time.Minute // a busy machine is slow; only a hang is to fail

// One reaper for all tests: it waits for every child of the test process.
var reaper = process.NewReaper()

func TestMain(m *testing.M) {
	if os.Getenv("EMBERBOX_WAITING_FD") != "" {
		interpret()
	}
	if role := os.Getenv("HELD"); role != "" {
		perform(role)
	}
	process.Protect()
	if err := process.AdoptOrphans(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// agent is a whole agent on this machine, and the host's end of its session.
type agent struct {
	t       *testing.T
	work    string
	link    net.Conn
	reader  *frame.Reader
	channel uint32
}

func start(t *testing.T) *agent {
	t.Helper()
	work := t.TempDir()
	user := identity.Current(work)
	base := environment.Merge(environment.Load("/nonexistent"), []string{"PATH=" + os.Getenv("PATH")})
	stocks := &waiting.Stocks{
		Reaper: reaper, Groups: cgroup.Bare{}, User: user, Environment: base, Work: work,
	}
	s := session.New("test", service.Features, &service.Service{
		Version: "test", Work: work, Users: identity.Table{Default: user}, Environment: base,
		Runner: process.NewRunner(reaper, cgroup.Bare{}, stocks), Stocks: stocks, Machine: machine.Host{Work: work},
	})
	listener, err := net.Listen("unix", filepath.Join(work, ".s"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if link, err := listener.Accept(); err == nil {
			_ = s.Serve(link)
			_ = link.Close()
		}
	}()
	link, err := net.Dial("unix", filepath.Join(work, ".s"))
	if err != nil {
		t.Fatal(err)
	}
	_ = link.SetDeadline(time.Now().Add(patience))
	a := &agent{t: t, work: work, link: link, reader: frame.NewReader(link)}
	t.Cleanup(func() {
		_ = link.Close()
		_ = listener.Close()
		<-served
		stocks.Stop()
	})
	a.send(frame.Hello, 0, 0, `{"protocol":1,"minor":0,"host":"test"}`)
	return a
}

func (a *agent) send(kind frame.Type, flags uint8, channel uint32, payload string) {
	if _, err := a.link.Write(frame.Append(nil, kind, flags, channel, []byte(payload))); err != nil {
		a.t.Fatal(err)
	}
}

// answer is what came of one request.
type answer struct {
	fields map[string]any
	events []map[string]any
	output [3]string
	ends   [3]bool
}

func (r answer) text(name string) string { s, _ := r.fields[name].(string); return s }

func (r answer) number(name string) int { n, _ := r.fields[name].(float64); return int(n) }

func (r answer) code() string {
	failure, _ := r.fields["error"].(map[string]any)
	code, _ := failure["code"].(string)
	return code
}

type fields map[string]any

// ask opens a channel; the input, if any, must fit the initial credit.
func (a *agent) ask(request fields, input ...string) uint32 {
	a.t.Helper()
	a.channel++
	body, err := json.Marshal(request)
	if err != nil {
		a.t.Fatal(err)
	}
	a.send(frame.Request, 0, a.channel, string(body))
	for i, part := range input {
		flags := uint8(0)
		if i == len(input)-1 {
			flags = frame.End
		}
		a.send(frame.Data, flags, a.channel, part)
	}
	return a.channel
}

// collect reads until the result, granting credit as it goes; on calls each for every frame if it is set.
func (a *agent) collect(channel uint32, each func(frame.Header)) answer {
	a.t.Helper()
	var r answer
	for {
		h, payload, err := a.reader.Next()
		if err != nil {
			a.t.Fatalf("no result: %v", err)
		}
		if h.Channel != channel {
			a.t.Fatalf("a frame on channel %d: %s", h.Channel, payload)
		}
		switch h.Type {
		case frame.Event:
			var event map[string]any
			_ = json.Unmarshal(payload, &event)
			r.events = append(r.events, event)
		case frame.Data:
			r.output[h.Stream()] += string(payload)
			r.ends[h.Stream()] = r.ends[h.Stream()] || h.Ended()
			if n := len(payload); n > 0 {
				a.send(frame.Credit, uint8(h.Stream()), channel, string([]byte{0, byte(n >> 16), byte(n >> 8), byte(n)}))
			}
		case frame.Result:
			if err := json.Unmarshal(payload, &r.fields); err != nil {
				a.t.Fatal(err)
			}
			return r
		}
		if each != nil {
			each(h)
		}
	}
}

func (a *agent) call(request fields, input ...string) answer {
	a.t.Helper()
	return a.collect(a.ask(request, input...), nil)
}

func (a *agent) shell(script string, more fields) answer {
	a.t.Helper()
	request := fields{"op": "exec", "argv": []string{"sh", "-c", script}}
	for name, value := range more {
		request[name] = value
	}
	return a.call(request)
}

func TestUnknownOp(t *testing.T) {
	if r := start(t).call(fields{"op": "later"}); r.code() != "unknown_op" {
		t.Fatalf("got %v", r.fields)
	}
}

func TestFilesGoInAndOut(t *testing.T) {
	a := start(t)
	content := strings.Repeat("0123456789", 20000)
	if r := a.call(fields{"op": "write_file", "path": "a/b", "mode": 0o600}, content[:60000], content[60000:120000], content[120000:180000], content[180000:], ""); r.number("size") != len(content) {
		t.Fatalf("got %v", r.fields)
	}
	r := a.call(fields{"op": "read_file", "path": "a/b"})
	if r.output[1] != content || !r.ends[1] || r.number("size") != len(content) || r.number("mode") != 0o600 {
		t.Fatalf("got %d bytes, %v", len(r.output[1]), r.fields)
	}
	if r := a.call(fields{"op": "read_file", "path": "a/b", "offset": 199998, "limit": 1}); r.output[1] != "8" {
		t.Fatalf("a part is %q", r.output[1])
	}
	if r := a.call(fields{"op": "read_file", "path": "none"}); r.code() != "not_found" || r.ends[1] {
		t.Fatalf("got %v", r.fields)
	}
	if r := a.call(fields{"op": "stat", "path": "a"}); r.text("type") != "directory" {
		t.Fatalf("got %v", r.fields)
	}
	if r := a.call(fields{"op": "list", "path": "a"}); r.number("entries") != 1 || !strings.Contains(r.output[1], `"name":"b"`) {
		t.Fatalf("got %v %s", r.fields, r.output[1])
	}
	packed := a.call(fields{"op": "tar_out", "path": "a"})
	if packed.number("entries") != 1 || !packed.ends[1] {
		t.Fatalf("got %v", packed.fields)
	}
	small := fields{"op": "tar_in", "path": "copy", "max_bytes": 10}
	if r := a.call(small, packed.output[1][:60000], ""); r.code() != "too_large" {
		t.Fatalf("got %v", r.fields)
	}
	for _, path := range []any{"a", ".", nil} {
		r := a.call(fields{"op": "delete", "path": path})
		if r.code() == "" {
			t.Fatalf("deleted %v", path)
		}
	}
	if r := a.call(fields{"op": "delete", "path": "a", "recursive": true}); r.fields["ok"] != true {
		t.Fatalf("got %v", r.fields)
	}
}

func TestBadRequests(t *testing.T) {
	a := start(t)
	for _, request := range []fields{
		{"op": "exec"},
		{"op": "exec", "argv": []string{}},
		{"op": "exec", "argv": "sh"},
		{"op": "exec", "argv": []string{"a\x00b"}},
		{"op": "exec", "argv": []string{"true"}, "env": fields{"A=B": "c"}},
		{"op": "exec", "argv": []string{"true"}, "user": "nobody"},
		{"op": "exec", "argv": []string{"true"}, "limits": fields{"pids": -1}},
		{"op": "exec", "argv": []string{"true"}, "limits": fields{"wall_ms": 1.5}},
		{"op": "exec", "argv": []string{"true"}, "files": []fields{{"path": "x", "data": "%"}}},
		{"op": "read_file"},
		{"op": "read_file", "path": "a\x00"},
		{"op": "resume", "entropy": "", "unix_ns": 1, "hostname": "x"},
		{"op": "clock"},
		{"op": "prepare", "waiting": fields{}},
	} {
		if r := a.call(request); r.code() != "bad_request" {
			t.Errorf("%v gave %v", request, r.fields)
		}
	}
}

func TestMachineRequests(t *testing.T) {
	a := start(t)
	entropy := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, request := range []fields{
		{"op": "ping"}, {"op": "info"}, {"op": "metrics"}, {"op": "flush"}, {"op": "clock", "unix_ns": 1},
		{"op": "resume", "entropy": entropy, "unix_ns": time.Now().UnixNano(), "hostname": "h", "disk_bytes": nil},
		{"op": "prepare", "waiting": nil},
	} {
		if r := a.call(request); r.fields["ok"] != true {
			t.Errorf("%v gave %v", request["op"], r.fields)
		}
	}
}
