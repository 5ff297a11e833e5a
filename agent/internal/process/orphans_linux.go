package process

import (
	"os"
	"syscall"
)

const setChildSubreaper = 36

// AdoptOrphans makes what programs leave behind the agent's children, as they are where the agent is process 1.
func AdoptOrphans() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}
