package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"emberbox.dev/agent/internal/port"
)

var noParameters = [1]byte{0}

// moduleLists names the files that say which modules go in: some are needed only when the host comes by vsock.
func moduleLists(commandLine string) []string {
	if _, ok := port.VsockPort(commandLine); ok {
		return []string{"order", "order-vsock"}
	}
	return []string{"order"}
}

// loadModules inserts the modules that a list in the folder names, one a line, in that order. A kernel without modules has no such file.
func loadModules(folder, list string) error {
	order, err := os.ReadFile(filepath.Join(folder, list))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(order)) {
		if err := insert(filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("cannot insert the module %s: %w", name, err)
		}
	}
	return nil
}

func insert(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, _, errno := syscall.Syscall(finitModule, file.Fd(), uintptr(unsafe.Pointer(&noParameters)), 0)
	if errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}
