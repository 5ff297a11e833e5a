package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestField(t *testing.T) {
	text := "usage_usec 12\nuser_usec 7\nx\nsystem_usec 5"
	for name, want := range map[string]int64{"usage_usec": 12, "user_usec": 7, "system_usec": 5, "usec": 0, "x": 0} {
		if got := field(text, name); got != want {
			t.Errorf("%s is %d", name, got)
		}
	}
}

// fakeTree is a folder that looks like a cgroup file system to what writes and reads it.
func fakeTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"cgroup.subtree_control", "agent/cgroup.procs", "runs/cgroup.subtree_control", "runs/memory.max"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestReserve(t *testing.T) {
	const mib = 1 << 20
	for total, want := range map[int64]string{256 * mib: "218103808", 1024 * mib: "912680551", 128 * mib: "83886080"} {
		root := fakeTree(t)
		if _, err := NewTree(root, total); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(filepath.Join(root, "runs/memory.max"))
		if string(got) != want {
			t.Errorf("of %d, programs get %s, want %s", total, got, want)
		}
	}
}

func TestGroupIsMadeAheadAndUsedOnce(t *testing.T) {
	tree, err := NewTree(fakeTree(t), 1<<28)
	if err != nil {
		t.Fatal(err)
	}
	tree.Prepare()
	ready := tree.ready
	first, err := tree.New()
	if err != nil || first != ready {
		t.Fatalf("got %v %v", first, err)
	}
	second, err := tree.New()
	if err != nil || second == first {
		t.Fatalf("got %v %v", second, err)
	}
	first.Remove()
	second.Remove()
	if entries, _ := os.ReadDir(filepath.Join(tree.root, "runs")); len(entries) != 2 {
		t.Fatalf("groups are left: %v", entries)
	}
}
