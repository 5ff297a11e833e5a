package files_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/files"
	"emberbox.dev/agent/internal/identity"
)

func me() identity.User { return identity.Current("/") }

func code(err error) string {
	if f := failure.Of(err); f != nil {
		return f.Code
	}
	return ""
}

func TestResolve(t *testing.T) {
	for path, want := range map[string]string{"a": "/work/a", "/a/../b": "/b", "../a": "/a", ".": "/work"} {
		if got, err := files.Resolve("/work", path); got != want || err != nil {
			t.Errorf("%q gave %q %v", path, got, err)
		}
	}
	for _, path := range []string{"", strings.Repeat("x", 4097)} {
		if _, err := files.Resolve("/work", path); code(err) != "bad_request" {
			t.Errorf("%.10q gave %v", path, err)
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a/b")
	plain := files.WriteOptions{Mode: 0o640}
	if _, err := files.Upload(me(), path, strings.NewReader("x"), plain); code(err) != "not_found" {
		t.Fatalf("without parents: %v", err)
	}
	plain.Parents = true
	for _, content := range []string{"much longer", "short"} {
		if size, err := files.Upload(me(), path, strings.NewReader(content), plain); err != nil || size != int64(len(content)) {
			t.Fatalf("got %d %v", size, err)
		}
	}
	plain.Append = true
	if size, err := files.Upload(me(), path, strings.NewReader("+"), plain); err != nil || size != 6 {
		t.Fatalf("appended: %d %v", size, err)
	}
	file, info, err := files.Open(me(), path)
	if err != nil || info.Mode() != 0o640 || info.Size() != 6 {
		t.Fatalf("got %v %v", info, err)
	}
	defer file.Close()
	var out bytes.Buffer
	if err := files.Download(file, 1, 4, &out); err != nil || out.String() != "hort" {
		t.Fatalf("got %q %v", out.String(), err)
	}
}

func TestOnlyRegularFilesAreReadAndWritten(t *testing.T) {
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, "/dev/zero"} {
		if _, _, err := files.Open(me(), path); code(err) != "bad_request" {
			t.Errorf("reading %s: %v", path, err)
		}
	}
	if _, _, err := files.Open(me(), folder); code(err) != "is_a_directory" {
		t.Errorf("reading a folder: %v", err)
	}
	if _, err := files.Create(me(), folder, files.WriteOptions{}); code(err) != "is_a_directory" {
		t.Errorf("writing a folder: %v", err)
	}
	if _, err := files.Create(me(), fifo, files.WriteOptions{}); err == nil {
		t.Error("wrote to a FIFO that nobody reads")
	}
}

func TestRightsOfTheUserHold(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to act as another user")
	}
	folder := filepath.Join(os.TempDir(), "emberbox-rights-test")
	if err := os.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(folder, "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	user := identity.User{ID: 1000, Group: 1000}
	if _, _, err := files.Open(user, secret); code(err) != "denied" {
		t.Errorf("reading root's file: %v", err)
	}
	if _, err := files.Create(user, secret, files.WriteOptions{}); code(err) != "denied" {
		t.Errorf("writing root's file: %v", err)
	}
	own := filepath.Join(folder, "d/own")
	if err := files.WriteAll(user, own, []byte("x"), files.WriteOptions{Mode: 0o600, Parents: true}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{own, filepath.Dir(own)} {
		info, err := os.Stat(path)
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 1000 || info.Sys().(*syscall.Stat_t).Gid != 1000 {
			t.Errorf("%s belongs to %+v", path, info.Sys())
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "again"), nil, 0o600); err != nil {
		t.Errorf("root's rights did not come back: %v", err)
	}
}

func TestListing(t *testing.T) {
	folder := t.TempDir()
	odd := "odd\xff"
	for _, name := range []string{"a/b/c", "z", odd} {
		if err := files.WriteAll(me(), filepath.Join(folder, name), []byte("12"), files.WriteOptions{Mode: 0o644, Parents: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(folder, "l")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	listing, err := files.List(me(), folder, true, 100, &out)
	if err != nil || listing != (files.Listing{Entries: 6}) {
		t.Fatalf("got %+v %v", listing, err)
	}
	types := map[string]string{}
	for line := range strings.Lines(out.String()) {
		var entry struct {
			Name    string `json:"name"`
			Base64  string `json:"name_b64"`
			Type    string `json:"type"`
			Size    int64  `json:"size"`
			ModeBit int64  `json:"mode"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Base64 != "" {
			name, _ := base64.StdEncoding.DecodeString(entry.Base64)
			entry.Name = string(name)
		}
		types[entry.Name] = entry.Type
	}
	for name, kind := range map[string]string{"a": "directory", "a/b": "directory", "a/b/c": "file", "z": "file", odd: "file", "l": "link"} {
		if types[name] != kind {
			t.Errorf("%q is %q", name, types[name])
		}
	}
	if listing, err := files.List(me(), folder, true, 3, &out); err != nil || listing != (files.Listing{Entries: 3, Truncated: true}) {
		t.Errorf("bounded: %+v %v", listing, err)
	}
	if listing, err := files.List(me(), folder, false, 4, &out); err != nil || listing != (files.Listing{Entries: 4}) {
		t.Errorf("exactly full: %+v %v", listing, err)
	}
}

func TestChanges(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a")
	deep := filepath.Join(folder, "b")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no parents", files.MakeDirectory(me(), deep, false, 0o700), "not_found"},
		{"parents", files.MakeDirectory(me(), deep, true, 0o700), ""},
		{"again", files.MakeDirectory(me(), deep, true, 0o700), ""},
		{"again without parents", files.MakeDirectory(me(), deep, false, 0o700), "exists"},
		{"full folder", files.Delete(me(), folder, false, false), "exists"},
		{"recursive", files.Delete(me(), folder, true, false), ""},
		{"missing", files.Delete(me(), folder, true, false), "not_found"},
		{"missing is fine", files.Delete(me(), folder, false, true), ""},
		{"the root", files.Delete(me(), "/", true, true), "denied"},
	} {
		if code(c.err) != c.want {
			t.Errorf("%s: got %v", c.name, c.err)
		}
	}
}
