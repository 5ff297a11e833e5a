package nursery

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/cgroup"
	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
	"emberbox.dev/agent/internal/process"
)

var _ = json.Marshal
var _ = strconv.Itoa
var _ = strings.Join
var _ = syscall.Kill
var _ time.Duration

// Nursery is one waiting interpreter and the child that it has ready.
type Nursery struct {
	reaper *process.Reaper
	groups cgroup.Factory
	user   identity.User
	base   environment.Base
	work   string

	mu sync.Mutex
}

// New returns a nursery in which nothing waits.
func New(reaper *process.Reaper, groups cgroup.Factory, user identity.User, base environment.Base, work string) *Nursery {
	return &Nursery{reaper: reaper, groups: groups, user: user, base: base, work: work}
}

// Prepare starts the interpreter.
func (n *Nursery) Prepare(argv, env, preload []string) error { return errors.New("not yet") }

// Stop ends it.
func (n *Nursery) Stop() {}

// Take implements process.Waiter.
func (n *Nursery) Take(p *process.Program, files [3]int) (*process.Child, cgroup.Group, bool) {
	return nil, nil, false
}

// Refill implements process.Waiter.
func (n *Nursery) Refill() {}
