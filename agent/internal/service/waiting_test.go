package service_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interpret stands in for a waiting interpreter: this very test program, started by the stock.
func interpret() {
	switch os.Getenv("FAKE") {
	case "broken":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(1)
	case "unready":
		say("error no luck")
		os.Exit(1)
	}
	say("ready")
	buffer := make([]byte, 200000)
	n, _ := syscall.Read(3, buffer)
	if n <= 0 {
		os.Exit(0)
	}
	order := strings.Split(string(buffer[:n]), "\x00")
	count, err := strconv.Atoi(order[2])
	if err != nil || len(order) < 3+count {
		os.Exit(99)
	}
	argv, added := order[3:3+count], order[3+count:]
	fmt.Printf("%s|%s|%s|%s", order[0], strings.Join(argv, ","), strings.Join(added, ","), order[1])
	code, _ := strconv.Atoi(argv[1])
	os.Exit(code)
}

func say(text string) {
	if _, err := syscall.Write(3, []byte(text)); err != nil {
		os.Exit(1)
	}
}

func (a *agent) prepare(env fields) answer {
	a.t.Helper()
	self, err := os.Executable()
	if err != nil {
		a.t.Fatal(err)
	}
	return a.call(fields{"op": "prepare", "waiting": fields{"argv": []string{self}, "env": env, "preload": []string{"json"}}, "work_bytes": nil})
}

func (a *agent) runScript(more fields) answer {
	a.t.Helper()
	request := fields{
		"op": "exec", "argv": []string{"echo", "plain"}, "cwd": a.work,
		"waiting": fields{"script": "main.py", "args": []string{"5", "x"}}, "env": fields{"K": "v"},
	}
	for name, value := range more {
		request[name] = value
	}
	return a.call(request)
}

func TestWaitingInterpreterTakesRuns(t *testing.T) {
	a := start(t)
	if r := a.prepare(nil); r.fields["waiting"] != true {
		t.Fatalf("got %v", r.fields)
	}
	for range 3 {
		r := a.runScript(nil)
		if want := a.work + "/main.py|main.py,5,x|K=v|"; r.output[1] != want || r.number("exit_code") != 5 {
			t.Fatalf("got %q %v, want %q", r.output[1], r.fields, want)
		}
		if r.events[0]["waiting"] != true {
			t.Fatalf("got %v", r.events)
		}
	}
}

func TestRunsThatNeedAnOrdinaryStart(t *testing.T) {
	a := start(t)
	a.prepare(nil)
	for name, more := range map[string]fields{
		"a variable that is read at the start": {"env": fields{"PYTHONPATH": "x"}},
		"another user":                         {"user": "root"},
		"no script":                            {"waiting": nil},
		"an order that is too long":            {"env": fields{"K": strings.Repeat("x", 70000), "L": strings.Repeat("x", 70000)}},
	} {
		r := a.runScript(more)
		if r.output[1] != "plain\n" && r.text("errno_name") == "" {
			t.Errorf("%s: got %q %v", name, r.output[1], r.fields)
		}
	}
}

func TestInterpreterThatIsGone(t *testing.T) {
	a := start(t)
	a.prepare(nil)
	pid := int(a.runScript(nil).events[0]["pid"].(float64))
	if pid == 0 {
		t.Fatal("no pid")
	}
	a.call(fields{"op": "flush"})
	killWaiting(t)
	for range 2 {
		if r := a.runScript(nil); r.number("exit_code") != 5 || r.events[0]["waiting"] != true {
			t.Fatalf("got %q %v", r.output[1], r.fields)
		}
	}
}

// killWaiting ends all children of this process that play the interpreter, as a program of the same user may.
func killWaiting(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); len(children(t)) > 0; time.Sleep(time.Millisecond) {
		for _, pid := range children(t) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(end) {
			t.Fatal("the interpreter does not end")
		}
	}
}

func children(t *testing.T) []int {
	t.Helper()
	var pids []int
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestInterpreterThatDoesNotGetReady(t *testing.T) {
	a := start(t)
	for role, want := range map[string]string{"broken": "last words", "unready": "no luck"} {
		r := a.prepare(fields{"FAKE": role})
		if r.fields["waiting"] != false || !strings.Contains(r.text("waiting_error"), want) {
			t.Errorf("%s: got %v", role, r.fields)
		}
		if r := a.runScript(nil); r.output[1] != "plain\n" {
			t.Errorf("%s: got %q", role, r.output[1])
		}
	}
}
