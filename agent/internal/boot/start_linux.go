// Package boot turns a kernel with an initramfs into a guest: modules, disks, the root file system, the few mounts that programs expect.
package boot

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"emberbox.dev/agent/internal/identity"
)

const (
	rootDevice  = "/dev/vda"
	mostLayers  = 2 // of 4 drives, one is the root and one the script
	deviceBound = 10 * time.Second
	devicePoll  = time.Millisecond
	folderMode  = 0o755
)

// System is what the boot has found.
type System struct {
	CommandLine string
	// Upper is an open folder of the tmpfs that takes all writes.
	Upper int
	// Layers counts the drives that lie over the root's.
	Layers int
	// ScriptDrive is "" without a drive behind those, "mounted", or an error.
	ScriptDrive string
}

// Complain prints a line to the console.
func Complain(err error) {
	console, bad := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if bad != nil {
		console = os.Stderr
	}
	fmt.Fprintf(console, "emberbox-agent: %v\n", err)
}

// Start boots and returns within the new root. An error leaves the machine half set up: the caller ends it.
func Start() (*System, error) {
	for _, m := range early {
		if err := m.mount(""); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	system := &System{CommandLine: string(text), Layers: layerCount(string(text))}
	for _, list := range moduleLists(system.CommandLine) {
		if err := loadModules("/modules", list); err != nil {
			return nil, err
		}
	}
	for number := range system.Layers + 1 {
		if err := await(drive(number)); err != nil {
			return nil, err
		}
	}
	if err := system.makeRoot(); err != nil {
		return nil, err
	}
	if err := makeScratch(); err != nil {
		return nil, err
	}
	system.mountScript()
	if err := switchRoot(); err != nil {
		return nil, err
	}
	return system, system.finish()
}

// await waits, bounded, for a device to appear.
func await(path string) error {
	for end := time.Now().Add(deviceBound); ; time.Sleep(devicePoll) {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the device %s did not appear within %v; are the modules for it in the initramfs?", path, deviceBound)
		}
	}
}

// finish does what is left once the new root is in place.
func (s *System) finish() error {
	for _, m := range late {
		if err := m.mount(""); err != nil {
			return err
		}
	}
	if err := nameStreams(); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	return os.Chdir("/")
}

// nameStreams makes the names by which programs open their own streams; devtmpfs has none of them.
func nameStreams() error {
	for name, target := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		if err := os.Symlink("/proc/self/fd"+target, "/dev/"+name); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

func makeFolder(path string, mode uint32, owner identity.User) error {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return err
	}
	if err := syscall.Chown(path, int(owner.ID), int(owner.Group)); err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	if err := syscall.Chmod(path, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}
