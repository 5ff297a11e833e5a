package service_test

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"

	"emberbox.dev/agent/internal/frame"
)

func TestProgramsStreamsAndExit(t *testing.T) {
	r := start(t).shell("echo out; echo err >&2; exit 3", nil)
	if r.output[1] != "out\n" || r.output[2] != "err\n" || !r.ends[1] || !r.ends[2] {
		t.Fatalf("got %q %v", r.output, r.ends)
	}
	if r.text("reason") != "exited" || r.number("exit_code") != 3 || r.fields["signal"] != nil || r.number("stdout_bytes") != 4 {
		t.Fatalf("got %v", r.fields)
	}
	if len(r.events) != 1 || r.events[0]["event"] != "started" || r.events[0]["waiting"] != false {
		t.Fatalf("got %v", r.events)
	}
	if r.number("peak_memory_bytes") == 0 || r.number("wall_us") == 0 {
		t.Fatalf("nothing was measured: %v", r.fields)
	}
}

func TestSurroundings(t *testing.T) {
	a := start(t)
	r := a.shell(`sleep 0.1; pwd; echo "$HOME $USER $A"; umask; ulimit -n; ulimit -c; ls /proc/self/fd | tr '\n' ' '; cat sub/f; readlink /proc/self/fd/0`, fields{
		"env":    fields{"A": "ä b"},
		"files":  []fields{{"path": "sub/f", "data": base64.StdEncoding.EncodeToString([]byte("staged\n")), "mode": 0o600}},
		"limits": fields{"open_files": 100},
	})
	want := a.work + "\n" + a.work + " user ä b\n0022\n100\n0\n0 1 2 3 staged\n/dev/null\n"
	if r.output[1] != want {
		t.Fatalf("got %q, want %q (%s)", r.output[1], want, r.output[2])
	}
	if info, err := os.Stat(a.work + "/sub/f"); err != nil || info.Mode() != 0o600 {
		t.Fatalf("the staged file is %v %v", info, err)
	}
}

func TestSignalsAreNotIgnored(t *testing.T) {
	if r := start(t).shell("kill -TERM $$; sleep 5", nil); r.number("signal") != 15 {
		t.Fatalf("got %v", r.fields)
	}
}

func TestProgramLeadsItsOwnSession(t *testing.T) {
	r := start(t).shell(`set -- $(cat /proc/$$/stat); echo $(( $1 == $6 ))`, nil)
	if r.output[1] != "1\n" {
		t.Fatalf("got %q", r.output)
	}
}

func TestInput(t *testing.T) {
	a := start(t)
	exec := fields{"op": "exec", "argv": []string{"wc", "-c"}, "stdin": true}
	if r := a.call(exec, strings.Repeat("x", 65536), strings.Repeat("x", 65536), "y"); strings.TrimSpace(r.output[1]) != "131073" {
		t.Fatalf("got %q", r.output[1])
	}
	if r := a.call(exec, ""); strings.TrimSpace(r.output[1]) != "0" {
		t.Fatalf("got %q", r.output[1])
	}
	exec["argv"] = []string{"sh", "-c", "exec <&-; sleep 0.1; echo x"}
	if r := a.call(exec, strings.Repeat("x", 65536), strings.Repeat("x", 65536), "y"); r.output[1] != "x\n" {
		t.Fatalf("a program that closes its input: %q %v", r.output[1], r.fields)
	}
	exec["argv"] = []string{"true"}
	if r := a.call(exec, strings.Repeat("x", 65536), strings.Repeat("x", 65536), "y"); r.number("exit_code") != 0 {
		t.Fatalf("a program that reads nothing: %v", r.fields)
	}
}

func TestStartFailures(t *testing.T) {
	a := start(t)
	if err := os.WriteFile(a.work+"/bad", []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.work+"/text", []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv, cwd, errno, message string
	}{
		{"no-such-program", "", "ENOENT", "no-such-program"},
		{"/etc/passwd", "", "EACCES", "/etc/passwd"},
		{"./bad", "", "ENOENT", "interpreter"},
		{"./text", "", "ENOEXEC", "./text"},
		{"true", "/no/folder", "ENOENT", "working folder /no/folder"},
		{"true", "/etc/passwd", "ENOTDIR", "working folder"},
	} {
		request := fields{"op": "exec", "argv": []string{c.argv}}
		if c.cwd != "" {
			request["cwd"] = c.cwd
		}
		r := a.call(request)
		if r.text("reason") != "start_failed" || r.text("errno_name") != c.errno || !strings.Contains(r.text("message"), c.message) {
			t.Errorf("%s: got %v", c.argv, r.fields)
		}
		if r.fields["exit_code"] != nil || r.fields["signal"] != nil || !r.ends[1] || !r.ends[2] {
			t.Errorf("%s: got %v %v", c.argv, r.fields, r.ends)
		}
	}
}

func TestLimits(t *testing.T) {
	a := start(t)
	for _, c := range []struct {
		script, reason string
		limits         fields
	}{
		{"sleep 3600", "timed_out", fields{"wall_ms": 100}},
		{"trap '' TERM; while :; do :; done", "cpu_limit", fields{"cpu_ms": 100}},
		{"yes", "output_limit", fields{"output_max": 100000}},
		{"yes >&2", "output_limit", fields{"output_max": 100000, "stderr_keep": 0}},
		{"kill -9 $$", "signalled", nil},
		{"sleep 3600 & kill -SEGV $$", "signalled", nil},
	} {
		r := a.shell(c.script, fields{"limits": c.limits})
		if r.text("reason") != c.reason || r.fields["exit_code"] != nil || r.fields["signal"] == nil {
			t.Errorf("%s: got %v", c.script, r.fields)
		}
	}
}

func TestKeptOutputIsBoundedAndAllIsCounted(t *testing.T) {
	r := start(t).shell("head -c 700000 /dev/zero; head -c 300 /dev/zero >&2", fields{"limits": fields{"stdout_keep": 1000, "stderr_keep": nil}})
	if len(r.output[1]) != 1000 || r.number("stdout_bytes") != 700000 || len(r.output[2]) != 300 {
		t.Fatalf("got %d and %d bytes, %v", len(r.output[1]), len(r.output[2]), r.fields)
	}
}

func TestOutputLargerThanCreditAndPipe(t *testing.T) {
	const size = 3000000
	r := start(t).shell("head -c 3000000 /dev/zero", fields{"limits": fields{"stdout_keep": nil}})
	if len(r.output[1]) != size || r.number("stdout_bytes") != size {
		t.Fatalf("got %d bytes, %v", len(r.output[1]), r.fields)
	}
}

func TestWhatIsLeftBehindDoesNotHoldTheRun(t *testing.T) {
	a := start(t)
	r := a.shell("sleep 3600 & echo done", nil)
	if r.output[1] != "done\n" {
		t.Fatalf("got %q", r.output[1])
	}
	if r := a.shell("exec >&- 2>&-; sleep 0.2; exit 4", nil); r.number("exit_code") != 4 || r.number("wall_us") < 150000 {
		t.Fatalf("a program without streams: %v", r.fields)
	}
}

func TestControl(t *testing.T) {
	a := start(t)
	for _, c := range []struct {
		control, script, reason string
		exit                    any
	}{
		{`{"control":"cancel"}`, "echo x; sleep 60", "cancelled", nil},
		{`{"control":"kill"}`, "echo x; sleep 60", "signalled", nil},
		{`{"control":"signal","signal":15}`, "trap 'exit 7' TERM; echo x; while :; do sleep 0.05; done", "exited", 7.0},
	} {
		channel := a.ask(fields{"op": "exec", "argv": []string{"sh", "-c", c.script}})
		r := a.collect(channel, func(h frame.Header) {
			if h.Type == frame.Data && h.Length > 0 {
				a.send(frame.Control, 0, channel, `{"control":"later"}`)
				a.send(frame.Control, 0, channel, c.control)
			}
		})
		if r.text("reason") != c.reason || r.fields["exit_code"] != c.exit {
			t.Errorf("%s: got %v", c.control, r.fields)
		}
	}
}

func TestCancelWithoutCredit(t *testing.T) {
	a := start(t)
	channel := a.ask(fields{"op": "exec", "argv": []string{"yes"}, "limits": fields{"stdout_keep": nil, "output_max": nil}})
	got := 0
	for got < 262144 {
		h, _, err := a.reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Type == frame.Data {
			got += int(h.Length)
		}
	}
	a.send(frame.Control, 0, channel, `{"control":"cancel"}`)
	if r := a.collect(channel, nil); r.text("reason") != "cancelled" || r.output[1] != "" {
		t.Fatalf("got %v", r.fields)
	}
}

func TestManyRunsAtOnce(t *testing.T) {
	a := start(t)
	open := map[uint32]bool{}
	for range 20 {
		open[a.ask(fields{"op": "exec", "argv": []string{"sh", "-c", "sleep 0.1 & sleep 0.05; echo x"}})] = true
	}
	for len(open) > 0 {
		h, payload, err := a.reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Type == frame.Result {
			if !strings.Contains(string(payload), `"exit_code":0`) {
				t.Errorf("got %s", payload)
			}
			delete(open, h.Channel)
		}
	}
	if r := a.call(fields{"op": "flush"}); r.fields["ok"] != true {
		t.Errorf("got %v", r.fields)
	}
}

func TestCancellationRightBehindTheRequest(t *testing.T) {
	a := start(t)
	var took []int
	for range 40 {
		channel := a.ask(fields{"op": "exec", "argv": []string{"sleep", "3600"}})
		a.send(frame.Control, 0, channel, `{"control":"cancel"}`)
		if r := a.collect(channel, nil); r.text("reason") != "cancelled" {
			t.Fatalf("got %v", r.fields)
		} else {
			took = append(took, r.number("wall_us"))
		}
	}
	// One that is overlooked is seen at the next look at the memory, half a second later: a busy machine is so slow for some, and not for most.
	slices.Sort(took)
	if took[len(took)/4] > 400_000 {
		t.Fatalf("took %v", took)
	}
}
