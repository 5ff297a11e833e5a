// Tries what a VMM that its guest has taken over would try next, and prints how each went: a line of JSON
// `[NAME, ERROR]` each, where an empty error says that it succeeded. It harms nothing but what it is pointed at.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// target is what the attempts are aimed at, all of it on the host.
type target struct {
	File     string // a file
	Folder   string // a folder in which anybody may write
	Program  string // a program
	Victim   int    // the pid of a process
	Marked   string // a word of that process's command line
	Port     int    // of a service on loopback
	Abstract string // the name of an abstract socket that somebody listens at
	Most     int    // how many files are opened, and processes started
}

func main() {
	if len(os.Args) == 1 { // one of the processes that fill the host
		time.Sleep(time.Minute)
		return
	}
	var at target
	if err := json.Unmarshal([]byte(os.Args[1]), &at); err != nil {
		panic(err)
	}
	for _, attempt := range attempts(at) {
		told := ""
		if err := attempt.try(); err != nil {
			told = err.Error()
		}
		line, _ := json.Marshal([]string{attempt.name, told})
		fmt.Println(string(line))
	}
}

type attempt struct {
	name string
	try  func() error
}

func attempts(at target) []attempt {
	return []attempt{
		{"reads a file", func() error { _, err := os.ReadFile(at.File); return err }},
		{"writes a file", func() error { return os.WriteFile(filepath.Join(at.Folder, "written"), []byte("x"), 0o600) }},
		{"starts a program", func() error { return start(at.Program, 1) }},
		{"sees a process", func() error { return see(at) }},
		{"traces a process", func() error { return trace(at) }},
		{"signals a process", func() error { return signal(at) }},
		{"connects to a service", func() error { return connect("tcp", fmt.Sprintf("127.0.0.1:%d", at.Port)) }},
		{"connects to an abstract socket", func() error { return connect("unix", "@"+at.Abstract) }},
		{"becomes root", becomeRoot},
		{"mounts a file system", func() error { return mount(at) }},
		{"makes a device", func() error { return makeDevice(at) }},
		{"opens files without end", func() error { return openMany(at.Most) }},
		{"starts processes without end", func() error { return start("/proc/self/exe", at.Most) }},
	}
}

func see(at target) error {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", at.Victim))
	if err == nil && !strings.Contains(string(line), at.Marked) {
		return errors.New("it is another process")
	}
	return err
}

func trace(at target) error {
	if err := see(at); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.PtraceAttach(at.Victim); err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(at.Victim, &status, syscall.WALL, nil); err != nil {
		return err
	}
	return syscall.PtraceDetach(at.Victim)
}

func signal(at target) error {
	if err := see(at); err != nil {
		return err
	}
	return syscall.Kill(at.Victim, syscall.SIGCONT)
}

func connect(network, address string) error {
	connection, err := net.DialTimeout(network, address, 30*time.Second)
	if err != nil {
		return err
	}
	return connection.Close()
}

func becomeRoot() error {
	if err := syscall.Setuid(0); err != nil {
		return err
	}
	if syscall.Geteuid() != 0 {
		return errors.New("it is not")
	}
	return nil
}

// place returns where something can be put: the host's folder, else one that the jail has.
func place(at target) string {
	if _, err := os.Stat(at.Folder); err == nil {
		return at.Folder
	}
	return "/tmp"
}

func mount(at target) error {
	if err := syscall.Mount("none", place(at), "tmpfs", 0, ""); err != nil {
		return err
	}
	return syscall.Unmount(place(at), 0)
}

func makeDevice(at target) error {
	path := filepath.Join(place(at), "device")
	if err := syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|3); err != nil {
		return err
	}
	return os.Remove(path)
}

func openMany(most int) error {
	for range most {
		file, err := os.Open("/proc/self/stat")
		if err != nil {
			return err
		}
		defer file.Close()
	}
	return nil
}

// start starts a program so many times, and ends all of them. It gives them no files: a jail has no /dev/null.
func start(program string, times int) error {
	for range times {
		process, err := os.StartProcess(program, []string{program}, &os.ProcAttr{})
		if err != nil {
			return err
		}
		defer process.Wait()
		defer process.Kill()
	}
	return nil
}
