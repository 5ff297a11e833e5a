package output

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"emberbox.dev/agent/internal/identity"
)

func made(t *testing.T) Folder {
	t.Helper()
	work := t.TempDir()
	folder := In(work)
	if err := folder.Make(identity.Current(work)); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestFreshFolderIsUnused(t *testing.T) {
	folder := made(t)
	if folder.Used() {
		t.Error("a fresh folder is used")
	}
	if err := folder.Make(identity.Current("/")); err != nil {
		t.Errorf("making it again: %v", err)
	}
}

func TestAnythingInItIsUse(t *testing.T) {
	for _, name := range []string{"a", ".hidden", strings.Repeat("n", 255)} {
		folder := made(t)
		if err := os.WriteFile(filepath.Join(string(folder), name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if !folder.Used() {
			t.Errorf("%q is not seen", name)
		}
	}
}

func TestNoFolderIsNotUsed(t *testing.T) {
	folder := made(t)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "a"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, put := range []func() error{
		func() error { return nil },
		func() error { return os.Symlink(full, string(folder)) },
		func() error { return os.WriteFile(string(folder), []byte("file"), 0o644) },
	} {
		_ = os.Remove(string(folder))
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if folder.Used() {
			t.Error("what is no folder is used")
		}
	}
	if Folder("").Used() {
		t.Error("no folder is used")
	}
}
