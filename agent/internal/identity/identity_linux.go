// Package identity says who programs run as and who file operations act as.
package identity

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"emberbox.dev/agent/internal/failure"
)

// User is a user of the guest.
type User struct {
	ID    uint32
	Group uint32
	Name  string
	Home  string
}

// The users that every guest has.
var (
	Root         = User{0, 0, "root", "/root"}
	Unprivileged = User{1000, 1000, "user", "/work"}
)

// file says whom programs run as where an image wants another user than the unprivileged one: "uid:gid".
const file = "/etc/emberbox/user"

// Load returns the user that programs of an image run as. Only its numbers count: an image may have no accounts.
func Load(root string) User {
	text, err := os.ReadFile(root + file)
	if err != nil {
		return Unprivileged
	}
	user, err := Table{Default: Unprivileged}.Find(strings.TrimSpace(string(text)))
	if err != nil {
		return Unprivileged
	}
	return user
}

// Table knows what a request's field `user` means.
type Table struct {
	// Default is the user where the field is null.
	Default User
}

// Find returns the user that a request names: "" for the default, "root", or "uid:gid".
func (t Table) Find(name string) (User, error) {
	switch name {
	case "", t.Default.Name:
		return t.Default, nil
	case Root.Name:
		return Root, nil
	}
	left, right, ok := strings.Cut(name, ":")
	id, err := strconv.ParseUint(left, 10, 31)
	group, err2 := strconv.ParseUint(right, 10, 31)
	if !ok || err != nil || err2 != nil {
		return User{}, failure.BadRequest(`user: must be null, "root" or "uid:gid"`)
	}
	return User{uint32(id), uint32(group), left, t.Default.Home}, nil
}

// Current returns the user that the agent itself runs as, at home in a folder.
func Current(home string) User {
	return User{uint32(os.Getuid()), uint32(os.Getgid()), "user", home}
}

// Act runs work with the rights of that user on files, which new files then belong to. Work must not start goroutines that touch files.
//
// The kernel keeps the file system's user for each thread, so the goroutine stays on its thread meanwhile.
func (u User) Act(work func() error) error {
	if os.Geteuid() != 0 {
		if u.ID != uint32(os.Geteuid()) {
			return failure.New("denied", fmt.Sprintf("the agent cannot act as user %d", u.ID))
		}
		return work()
	}
	if u.ID == 0 && u.Group == 0 {
		return work()
	}
	runtime.LockOSThread()
	setFileUser(u.ID, u.Group)
	err := work()
	if setFileUser(0, 0) {
		runtime.UnlockOSThread()
	}
	return err
}

// setFileUser tells whether the thread now acts as that user; a thread that does not must not be used again.
func setFileUser(user, group uint32) bool {
	const ask = ^uintptr(0)
	syscall.RawSyscall(syscall.SYS_SETFSGID, uintptr(group), 0, 0)
	syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(user), 0, 0)
	now, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, ask, 0, 0)
	nowGroup, _, _ := syscall.RawSyscall(syscall.SYS_SETFSGID, ask, 0, 0)
	return uint32(now) == user && uint32(nowGroup) == group
}
