package service_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interpret stands in for a waiting interpreter: this very test program, started by the nursery. Its child is the program once more.
func interpret() {
	switch os.Getenv("FAKE") {
	case "broken":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(1)
	case "unready":
		say(3, `{"ready": false, "error": "no luck"}`)
		os.Exit(1)
	case "intermediate":
		pid, err := fork("grandchild", 4)
		if err != nil {
			os.Exit(1)
		}
		say(3, fmt.Sprintf(`{"pid": %d}`, pid))
		os.Exit(0)
	case "grandchild":
		obey()
	}
	say(3, `{"ready": true}`)
	for {
		_, files := hear(3)
		if len(files) != 1 {
			os.Exit(0)
		}
		child, err := fork("intermediate", files[0])
		if err != nil {
			os.Exit(1)
		}
		_ = syscall.Close(files[0])
		_, _ = syscall.Wait4(child, nil, 0, nil)
	}
}

func fork(role string, order int) (int, error) {
	if err := os.Setenv("FAKE", role); err != nil {
		return 0, err
	}
	return syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, 3, uintptr(order)},
	})
}

func say(fd int, text string) {
	if err := syscall.Sendmsg(fd, []byte(text), nil, nil, 0); err != nil {
		os.Exit(1)
	}
}

func hear(fd int) (text []byte, files []int) {
	buffer, rights := make([]byte, 200000), make([]byte, 100)
	n, m, _, _, err := syscall.Recvmsg(fd, buffer, rights, 0)
	if err != nil || n == 0 {
		os.Exit(0)
	}
	messages, _ := syscall.ParseSocketControlMessage(rights[:m])
	for i := range messages {
		got, _ := syscall.ParseUnixRights(&messages[i])
		files = append(files, got...)
	}
	return buffer[:n], files
}

func obey() {
	text, files := hear(4)
	_, _ = syscall.Setsid()
	var order struct {
		Script string            `json:"script"`
		Argv   []string          `json:"argv"`
		Env    map[string]string `json:"env"`
		Cwd    string            `json:"cwd"`
	}
	if json.Unmarshal(text, &order) != nil || len(files) != 3 {
		os.Exit(99)
	}
	for i, fd := range files {
		_ = syscall.Dup3(fd, i, 0)
	}
	fmt.Printf("%s|%s|%s|%s", order.Script, strings.Join(order.Argv, ","), order.Env["K"], order.Cwd)
	code, _ := strconv.Atoi(order.Argv[1])
	os.Exit(code)
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
		if want := a.work + "/main.py|main.py,5,x|v|" + a.work; r.output[1] != want || r.number("exit_code") != 5 {
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
		if r := a.runScript(nil); r.output[1] != "plain\n" || r.events[0]["waiting"] != false {
			t.Fatalf("got %q %v", r.output[1], r.fields)
		}
	}
}

// killWaiting ends all children of this process that play the interpreter, as a program of the same user may.
func killWaiting(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); len(children(t)) > 0; time.Sleep(time.Millisecond) {
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
