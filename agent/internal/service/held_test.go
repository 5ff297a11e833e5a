package service_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// perform stands in for an interpreter that is held: this very test program, which opens and reads its script as its role says.
func perform(role string) {
	script := os.Args[len(os.Args)-1]
	switch role {
	case "never":
		fmt.Fprintln(os.Stderr, "no script for me")
		os.Exit(1)
	case "early", "swap":
		file, err := os.Open(script)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if role == "swap" {
			swap(int(file.Fd()))
		}
		os.Stdout.WriteString("begun ")
		text, _ := io.ReadAll(file)
		finish(string(text))
	case "thread":
		done := make(chan string)
		for range 4 { // threads beside the one that is held, asleep and awake
			go func() {
				runtime.LockOSThread()
				time.Sleep(time.Hour)
			}()
		}
		go func() {
			runtime.LockOSThread()
			os.Stdout.WriteString("begun ")
			text, err := os.ReadFile(script)
			if err != nil {
				text = []byte(err.Error())
			}
			done <- string(text)
		}()
		finish(<-done)
	}
}

// swap puts another file where the script was opened.
func swap(script int) {
	other, err := os.Open("other")
	if err != nil {
		os.Exit(9)
	}
	_ = syscall.Dup3(int(other.Fd()), script, 0)
}

func finish(text string) {
	input, _ := io.ReadAll(os.Stdin)
	fmt.Printf("%s|%s|%d", text, input, len(os.Args))
	os.Exit(4)
}

func (a *agent) hold(role string, more fields) answer {
	a.t.Helper()
	self, err := os.Executable()
	if err != nil {
		a.t.Fatal(err)
	}
	command := fields{"argv": []string{self, "main.x"}, "env": fields{"HELD": role}, "script": "main.x", "opened": role != "thread"}
	for name, value := range more {
		command[name] = value
	}
	return a.call(fields{"op": "prepare", "held": []fields{command}, "work_bytes": nil})
}

func (a *agent) runHeld(role, text string, more fields) answer {
	a.t.Helper()
	self, _ := os.Executable()
	request := fields{
		"op": "exec", "argv": []string{self, "main.x"}, "cwd": a.work, "env": fields{"HELD": role},
		"files": []fields{{"path": "main.x", "data": base64.StdEncoding.EncodeToString([]byte(text))}},
	}
	for name, value := range more {
		request[name] = value
	}
	return a.call(request)
}

func TestHeldProgramTakesItsOwnCommandLine(t *testing.T) {
	for _, role := range []string{"thread", "early"} {
		a := start(t)
		if r := a.hold(role, nil); r.fields["waiting"] != true {
			t.Fatalf("%s: got %v", role, r.fields)
		}
		if names, _ := os.ReadDir(a.work); len(names) > 1 { // .s is the session's
			t.Fatalf("%s: the work folder holds %v", role, names)
		}
		for number, text := range []string{"one", strings.Repeat("x", 20000), ""} {
			r := a.runHeld(role, text, nil)
			waited := role == "thread" || number < 2 // one that opens its script early is not started beside a script
			if want := "begun " + text + "||2"; r.output[1] != want || r.number("exit_code") != 4 || r.events[0]["waiting"] != waited {
				t.Fatalf("%s: got %q %q %v", role, r.output[1], r.output[2], r.fields)
			}
		}
	}
}

func TestHeldProgramIsOnlyForItsCommandLine(t *testing.T) {
	a := start(t)
	a.hold("thread", fields{"once": true})
	self, _ := os.Executable()
	for name, more := range map[string]fields{
		"another argument": {"argv": []string{self, "x", "main.x"}},
		"another variable": {"env": fields{"HELD": "thread", "A": "b"}},
		"another folder":   {"cwd": "/", "argv": []string{self, "main.x"}},
	} {
		if r := a.runHeld("thread", "one", more); r.events[0]["waiting"] != false {
			t.Errorf("%s: got %v", name, r.events)
		}
	}
	for want := range 3 { // a stock of two, and no other
		if r := a.runHeld("thread", "one", nil); r.events[0]["waiting"] != (want < 2) || !strings.HasPrefix(r.output[1], "begun one") {
			t.Errorf("run %d: got %v %q", want, r.events, r.output[1])
		}
	}
}

func TestPreparedAgainWhatWaitsAlreadyStays(t *testing.T) {
	a := start(t)
	a.hold("thread", nil)
	first := int(a.runHeld("thread", "one", nil).events[0]["pid"].(float64))
	before := children(t)
	a.hold("thread", nil)
	after := children(t)
	if len(before) != 1 || len(after) != 2 || !slices.Contains(after, before[0]) || slices.Contains(after, first) {
		t.Fatalf("waiting were %v, are %v", before, after)
	}
	if err := os.Remove(a.work + "/main.x"); err != nil {
		t.Fatal(err)
	}
	a.hold("early", nil)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now := children(t)
		if len(now) == 2 && !slices.Contains(now, after[0]) && !slices.Contains(now, after[1]) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting were %v, are %v", after, now)
		}
	}
}

func TestHeldProgramThatIsGone(t *testing.T) {
	a := start(t)
	a.hold("thread", nil)
	killWaiting(t)
	if r := a.runHeld("thread", "one", nil); r.output[1] != "begun one||2" || r.events[0]["waiting"] != true {
		t.Fatalf("got %q %v", r.output[1], r.events)
	}
}

func TestOtherFileInTheScriptsPlaceIsNotWritten(t *testing.T) {
	a := start(t)
	other := a.work + "/other"
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := a.hold("swap", nil); r.fields["waiting"] != true {
		t.Fatalf("got %v", r.fields)
	}
	r := a.runHeld("swap", "yours", nil)
	if text, _ := os.ReadFile(other); string(text) != "mine" || r.events[0]["waiting"] != false || r.output[1] != "begun mine||2" {
		t.Fatalf("got %q %q %v", text, r.output[1], r.events)
	}
}

func TestHeldProgramThatIsKilledOrTimedOut(t *testing.T) {
	a := start(t)
	a.hold("thread", nil)
	r := a.runHeld("thread", "one", fields{"stdin": true, "limits": fields{"wall_ms": 100}})
	if r.text("reason") != "timed_out" {
		t.Fatalf("got %v", r.fields)
	}
}

func TestProgramThatCannotBeHeld(t *testing.T) {
	a := start(t)
	r := a.hold("never", nil)
	if r.fields["waiting"] != false || !strings.Contains(r.text("waiting_error"), "no script for me") {
		t.Fatalf("got %v", r.fields)
	}
	if r := a.hold("thread", fields{"argv": []string{"/nonexistent", "main.x"}}); !strings.Contains(r.text("waiting_error"), "nonexistent") {
		t.Fatalf("got %v", r.fields)
	}
}
