package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"emberbox.dev/agent/internal/archive"
	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/identity"
)

var ample = archive.Bounds{Bytes: 1 << 20, Entries: 1000}

func me() identity.User { return identity.Current("/") }

type entry struct {
	name    string
	content string
	kind    byte
	target  string
}

func build(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		header := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.target, Size: int64(len(e.content)), Mode: 0o4755}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// arena is a folder to unpack to, with a neighbour that must stay as it is.
func arena(t testing.TB) (folder, neighbour string) {
	t.Helper()
	base := t.TempDir()
	neighbour = filepath.Join(base, "neighbour")
	if err := os.WriteFile(neighbour, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, "folder"), neighbour
}

func untouched(t testing.TB, folder, neighbour string) {
	t.Helper()
	text, err := os.ReadFile(neighbour)
	info, bad := os.Lstat(neighbour)
	if err != nil || bad != nil || string(text) != "mine" || info.Sys().(*syscall.Stat_t).Nlink != 1 {
		t.Fatalf("the neighbour has changed: %q %v", text, err)
	}
	entries, err := os.ReadDir(filepath.Dir(folder))
	if err != nil || len(entries) > 2 {
		t.Fatalf("there is something beside the folder: %v %v", entries, err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return
	}
	defer root.Close()
	_ = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSymlink != 0 {
			name, _ := filepath.Rel(folder, path)
			if _, err := root.Stat(name); failure.Escapes(err) {
				t.Errorf("the link %s leads out", name)
			}
		}
		return nil
	})
}

func TestWaysOutAreClosed(t *testing.T) {
	link := func(name, target string) entry { return entry{name: name, kind: tar.TypeSymlink, target: target} }
	hard := func(name, target string) entry { return entry{name: name, kind: tar.TypeLink, target: target} }
	folder := func(name string) entry { return entry{name: name, kind: tar.TypeDir} }
	for name, c := range map[string]struct {
		code    string
		entries []entry
	}{
		"absolute name":                    {"outside_folder", []entry{{name: "/etc/x"}}},
		"dots":                             {"outside_folder", []entry{{name: "../neighbour", content: "bad"}}},
		"dots within":                      {"outside_folder", []entry{{name: "a/../../neighbour", content: "bad"}}},
		"dots that stay within":            {"outside_folder", []entry{{name: "a/../b", content: "x"}}},
		"dots as a folder":                 {"outside_folder", []entry{folder("../made")}},
		"link to an absolute path":         {"outside_folder", []entry{link("l", "/etc")}},
		"link above":                       {"outside_folder", []entry{link("l", "../neighbour")}},
		"link above from a folder":         {"outside_folder", []entry{folder("a"), link("a/l", "../../neighbour")}},
		"link to the folder above":         {"outside_folder", []entry{link("l", "..")}},
		"write through a link":             {"outside_folder", []entry{link("l", ".."), {name: "l/neighbour", content: "bad"}}},
		"link through a link":              {"outside_folder", []entry{folder("a/b"), link("s", "a/b"), link("s/x", "../../../neighbour")}},
		"link whose meaning changes":       {"outside_folder", []entry{folder("a/b/c"), link("s", "a/b/c"), link("l", "s/../../../../neighbour")}},
		"link through a shorter way":       {"outside_folder", []entry{folder("d"), link("d/s", "."), link("d/s/s/s/l", "../../neighbour")}},
		"target through a link to itself":  {"outside_folder", []entry{link("s", "."), link("l", "s/../neighbour")}},
		"target made later":                {"outside_folder", []entry{link("l", "s/../neighbour"), link("s", ".")}},
		"hard link above":                  {"outside_folder", []entry{hard("h", "../neighbour")}},
		"hard link to an absolute path":    {"outside_folder", []entry{hard("h", "/etc/passwd")}},
		"hard link to a link":              {"bad_request", []entry{folder("a"), {name: "x"}, link("a/l", "../x"), hard("h", "a/l")}},
		"hard link to nothing":             {"not_found", []entry{hard("h", "nothing")}},
		"hard link to a folder":            {"bad_request", []entry{folder("a"), hard("h", "a")}},
		"device":                           {"bad_request", []entry{{name: "d", kind: tar.TypeChar}}},
		"block device":                     {"bad_request", []entry{{name: "d", kind: tar.TypeBlock}}},
		"FIFO":                             {"bad_request", []entry{{name: "d", kind: tar.TypeFifo}}},
		"file over a folder":               {"is_a_directory", []entry{folder("a"), {name: "a", content: "x"}}},
		"folder within a file":             {"exists", []entry{{name: "a", content: "x"}, {name: "a/b", content: "x"}}},
		"link with an empty target's name": {"outside_folder", []entry{{name: "x"}, link("y/l", "../..")}},
	} {
		t.Run(name, func(t *testing.T) {
			where, neighbour := arena(t)
			_, err := archive.Unpack(me(), where, bytes.NewReader(build(t, c.entries...)), ample)
			if f := failure.Of(err); f == nil || (f.Code != c.code && !(c.code == "is_a_directory" && f.Code == "exists")) {
				t.Errorf("got %v, want %s", f, c.code)
			}
			untouched(t, where, neighbour)
		})
	}
}

func TestExistingLinkIsNotFollowedOut(t *testing.T) {
	where, neighbour := arena(t)
	if err := os.Mkdir(where, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(where, "out")); err != nil {
		t.Fatal(err)
	}
	_, err := archive.Unpack(me(), where, bytes.NewReader(build(t, entry{name: "out/neighbour", content: "bad"})), ample)
	if failure.Of(err).Code != "outside_folder" {
		t.Errorf("got %v", err)
	}
	if err := os.Symlink("../neighbour", filepath.Join(where, "file")); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Unpack(me(), where, bytes.NewReader(build(t, entry{name: "file", content: "new"})), ample); err != nil {
		t.Errorf("a link in the place of a file: %v", err)
	}
	if text, _ := os.ReadFile(neighbour); string(text) != "mine" {
		t.Errorf("the neighbour is %q", text)
	}
	if text, _ := os.ReadFile(filepath.Join(where, "file")); string(text) != "new" {
		t.Errorf("the file is %q", text)
	}
}

func TestBounds(t *testing.T) {
	where, _ := arena(t)
	two := build(t, entry{name: "a", content: "12345"}, entry{name: "b", content: "67890"})
	for _, bounds := range []archive.Bounds{{Bytes: 9, Entries: 2}, {Bytes: 10, Entries: 1}} {
		if _, err := archive.Unpack(me(), where, bytes.NewReader(two), bounds); failure.Of(err).Code != "too_large" {
			t.Errorf("%+v: got %v", bounds, err)
		}
	}
	count, err := archive.Unpack(me(), where, bytes.NewReader(two), archive.Bounds{Bytes: 10, Entries: 2})
	if err != nil || count != (archive.Count{Bytes: 10, Entries: 2}) {
		t.Errorf("got %+v %v", count, err)
	}
}

func TestGzipBombIsBounded(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(build(t, entry{name: "a", content: strings.Repeat("0", 5<<20)})); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	where, _ := arena(t)
	if _, err := archive.Unpack(me(), where, &packed, ample); failure.Of(err).Code != "too_large" {
		t.Errorf("got %v", err)
	}
}

func TestDamagedArchives(t *testing.T) {
	whole := build(t, entry{name: "a", content: strings.Repeat("x", 5000)})
	for name, data := range map[string][]byte{
		"text": []byte(strings.Repeat("not a tar\n", 100)), "cut": whole[:2000], "gzip": {0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9},
	} {
		where, _ := arena(t)
		if _, err := archive.Unpack(me(), where, bytes.NewReader(data), ample); failure.Of(err) == nil || failure.Of(err).Code != "bad_request" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	where, _ := arena(t)
	content := strings.Repeat("long ", 20000)
	packed := build(t, entry{name: "./", kind: tar.TypeDir}, entry{name: "d/e/f.txt", content: content}, entry{name: "d/g.py", content: "1"},
		entry{name: "d/l", kind: tar.TypeSymlink, target: "e/f.txt"}, entry{name: "h", kind: tar.TypeLink, target: "d/g.py"})
	if _, err := archive.Unpack(me(), where, bytes.NewReader(packed), ample); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(where, "d/g.py")); err != nil || info.Mode() != 0o755 {
		t.Errorf("the mode is %v %v, set-uid must be dropped", info.Mode(), err)
	}
	if err := syscall.Mkfifo(filepath.Join(where, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		patterns []string
		want     []string
	}{
		{nil, []string{"d/", "d/e/", "d/e/f.txt", "d/g.py", "d/l", "h"}},
		{[]string{"**/*.py"}, []string{"d/g.py"}},
		{[]string{"d/e"}, []string{"d/e/", "d/e/f.txt"}},
		{[]string{"*"}, []string{"d/", "d/e/", "d/e/f.txt", "d/g.py", "d/l", "h"}},
		{[]string{}, nil},
		{[]string{"[", "h"}, []string{"h"}},
	} {
		var out bytes.Buffer
		count, truncated, err := archive.Pack(me(), where, c.patterns, &out, ample)
		names := []string{}
		r := tar.NewReader(&out)
		for h, err := r.Next(); err == nil; h, err = r.Next() {
			names = append(names, h.Name)
			if h.Name == "d/e/f.txt" {
				if text, _ := io.ReadAll(r); string(text) != content {
					t.Error("the content differs")
				}
			}
		}
		if err != nil || truncated || !slices.Equal(names, c.want) && len(names)+len(c.want) > 0 || count.Entries != int64(len(c.want)) {
			t.Errorf("%v: got %v %+v %v %v", c.patterns, names, count, truncated, err)
		}
	}
	_, truncated, err := archive.Pack(me(), where, nil, io.Discard, archive.Bounds{Bytes: 10, Entries: 100})
	if !truncated || err != nil {
		t.Errorf("bytes: %v %v", truncated, err)
	}
	_, truncated, err = archive.Pack(me(), where, nil, io.Discard, archive.Bounds{Bytes: 1 << 20, Entries: 2})
	if !truncated || err != nil {
		t.Errorf("entries: %v %v", truncated, err)
	}
	if count, _, err := archive.Pack(me(), filepath.Join(where, "h"), nil, io.Discard, ample); err != nil || count.Entries != 1 {
		t.Errorf("a file alone: %+v %v", count, err)
	}
	if _, _, err := archive.Pack(me(), filepath.Join(where, "none"), nil, io.Discard, ample); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestMatchIsNotExponential(t *testing.T) {
	pattern := strings.Repeat("**/a/", 30) + "b"
	if archive.Match(pattern, strings.Repeat("a/", 1000)+"c") {
		t.Error("matched")
	}
	for pattern, name := range map[string]string{"**": "a/b", "a/**": "a/b/c", "**/c": "c", "a/**/c": "a/c", "a?": "ab", "./a": "a", "a/": "a"} {
		if !archive.Match(pattern, name) {
			t.Errorf("%s does not match %s", pattern, name)
		}
	}
	for pattern, name := range map[string]string{"*": "a/b", "a": "ab", "a/**/c": "a/b", "b": "a/b"} {
		if archive.Match(pattern, name) {
			t.Errorf("%s matches %s", pattern, name)
		}
	}
}

func FuzzTar(f *testing.F) {
	f.Add(build(f, entry{name: "a/b", content: "x"}, entry{name: "l", kind: tar.TypeSymlink, target: "a"}, entry{name: "l/c", content: "y"}))
	f.Add(build(f, entry{name: "s", kind: tar.TypeSymlink, target: "."}, entry{name: "l", kind: tar.TypeSymlink, target: "s/../neighbour"}))
	f.Add(build(f, entry{name: "x"}, entry{name: "h", kind: tar.TypeLink, target: "x"}, entry{name: "h", content: "z"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		where, neighbour := arena(t)
		count, _ := archive.Unpack(me(), where, bytes.NewReader(data), archive.Bounds{Bytes: 1 << 16, Entries: 20})
		if count.Entries > 21 || count.Bytes > 1<<16+32768 {
			t.Fatalf("over the bounds: %+v", count)
		}
		untouched(t, where, neighbour)
	})
}
