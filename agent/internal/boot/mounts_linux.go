package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"emberbox.dev/agent/internal/identity"
)

// mounting is one file system and where it goes.
type mounting struct {
	source string
	target string
	kind   string
	flags  uintptr
	data   string
}

const private = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC

var early = []mounting{
	{"devtmpfs", "/dev", "devtmpfs", syscall.MS_NOSUID, ""},
	{"proc", "/proc", "proc", private, ""},
	{"sysfs", "/sys", "sysfs", private, ""},
}

var late = []mounting{
	{"devpts", "/dev/pts", "devpts", syscall.MS_NOSUID | syscall.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666"},
	{"shm", "/dev/shm", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=1777"},
	{"run", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=755,size=8m"},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", private, ""},
}

func (m mounting) mount(root string) error {
	target := filepath.Join(root, m.target)
	if err := os.MkdirAll(target, folderMode); err != nil && !os.IsExist(err) {
		return err
	}
	if err := syscall.Mount(m.source, target, m.kind, m.flags, m.data); err != nil && err != syscall.EBUSY {
		return fmt.Errorf("cannot mount %s at %s: %w", m.kind, target, err)
	}
	return nil
}

const (
	lower   = "/lower"
	upper   = "/upper"
	newRoot = "/root-new"
)

var diskKinds = []string{"ext4", "squashfs", "erofs", "iso9660"}

// mountDisk tries the kinds of file systems that images come in; the error is that of the last kind that the kernel knows.
func mountDisk(device, target string) error {
	if err := os.MkdirAll(target, folderMode); err != nil {
		return err
	}
	failed := error(syscall.ENODEV)
	for _, kind := range diskKinds {
		err := syscall.Mount(device, target, kind, syscall.MS_RDONLY|syscall.MS_NODEV, "")
		if err == nil {
			return nil
		}
		if err != syscall.ENODEV {
			failed = err
		}
	}
	return fmt.Errorf("cannot mount %s as any of %s: %w", device, strings.Join(diskKinds, ", "), failed)
}

// makeRoot lays the drives of layers over the image, and a tmpfs over all of them.
func (s *System) makeRoot() error {
	if err := mountDisk(rootDevice, lower); err != nil {
		return err
	}
	folders := lower
	for number := 1; number <= s.Layers; number++ {
		if err := mountDisk(drive(number), layerFolder(number)); err != nil {
			return err
		}
		folders = layerFolder(number) + ":" + folders
	}
	size := "50%"
	if bytes, ok := diskSize(s.CommandLine); ok {
		size = strconv.FormatInt(bytes, 10)
	}
	if err := (mounting{"upper", upper, "tmpfs", syscall.MS_NODEV, "mode=755,size=" + size}).mount(""); err != nil {
		return err
	}
	for _, folder := range []string{"/files", "/work"} {
		if err := os.Mkdir(upper+folder, folderMode); err != nil {
			return err
		}
	}
	var err error
	if s.Upper, err = syscall.Open(upper, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: upper, Err: err}
	}
	data := "lowerdir=" + folders + ",upperdir=" + upper + "/files,workdir=" + upper + "/work"
	return mounting{"overlay", newRoot, "overlay", syscall.MS_NODEV, data}.mount("")
}

// drive names the device of a drive: the root is number 0, behind it come the layers, behind those the script.
func drive(number int) string { return "/dev/vd" + string(rune('a'+number)) }

func layerFolder(number int) string { return "/layer" + strconv.Itoa(number) }

// layerCount reads `emberbox.layers=N` from the kernel's command line.
func layerCount(commandLine string) int {
	for word := range strings.FieldsSeq(commandLine) {
		if text, found := strings.CutPrefix(word, "emberbox.layers="); found {
			if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= mostLayers {
				return n
			}
		}
	}
	return 0
}

// diskSize reads `emberbox.disk=BYTES` from the kernel's command line.
func diskSize(commandLine string) (bytes int64, ok bool) {
	for word := range strings.FieldsSeq(commandLine) {
		if text, found := strings.CutPrefix(word, "emberbox.disk="); found {
			n, err := strconv.ParseInt(text, 10, 64)
			return n, err == nil && n > 0
		}
	}
	return 0, false
}

// makeScratch puts the folders that programs write to beside the overlay, on the same tmpfs and so under the same bound: writing
// through the overlay would cost an emulated guest several times as much.
//
// An image that has something in such a folder keeps it, at that price.
func makeScratch() error {
	user := identity.Load(newRoot)
	for _, folder := range []struct {
		name  string
		mode  uint32
		owner identity.User
	}{{"/work", folderMode, user}, {"/tmp", 0o1777, identity.Root}} {
		source, target := upper+"/scratch"+folder.name, newRoot+folder.name
		if entries, err := os.ReadDir(target); err == nil && len(entries) > 0 {
			if err := makeFolder(target, folder.mode, folder.owner); err != nil {
				return err
			}
			continue
		}
		if err := makeFolder(source, folder.mode, folder.owner); err != nil {
			return err
		}
		if err := os.MkdirAll(target, folderMode); err != nil {
			return err
		}
		if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot mount %s: %w", folder.name, err)
		}
	}
	return nil
}

// mountScript mounts the drive behind the layers if there is one. A failure is not fatal: it is told in the answer to `info`.
func (s *System) mountScript() {
	device := drive(s.Layers + 1)
	if _, err := os.Stat(device); err != nil {
		return
	}
	s.ScriptDrive = "mounted"
	if err := mountDisk(device, newRoot+"/mnt/script"); err != nil {
		s.ScriptDrive = err.Error()
	}
}

// switchRoot makes the overlay the root and gives the initramfs's memory back.
func switchRoot() error {
	for _, m := range early {
		target := newRoot + m.target
		if err := os.MkdirAll(target, folderMode); err != nil {
			return err
		}
		if err := syscall.Mount(m.target, target, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("cannot move %s: %w", m.target, err)
		}
	}
	_ = os.RemoveAll("/modules")
	_ = os.Remove("/init")
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move the new root: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return fmt.Errorf("cannot enter the new root: %w", err)
	}
	return os.Chdir("/")
}
