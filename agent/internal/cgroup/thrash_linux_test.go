package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// runsFolder is a tree with two runs, and a way to set their counters.
func runsFolder(t *testing.T) (f *folder, set func(run string, cache, refaults, faults int), write func(path string, value int)) {
	t.Helper()
	runs := t.TempDir()
	for _, name := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(runs, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(path, text string) {
		if err := os.WriteFile(filepath.Join(runs, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set = func(run string, cache, refaults, faults int) {
		put(run+"/memory.stat", fmt.Sprintf("active_file 0\ninactive_file %d\npgmajfault %d\nworkingset_refault_file %d\n", cache, faults, refaults))
	}
	write = func(path string, value int) { put(path, fmt.Sprintf("max %d\n", value)) }
	set("1", 0, 0, 0)
	set(".", 0, 0, 0)
	return &folder{path: filepath.Join(runs, "1")}, set, write
}

func TestThrashing(t *testing.T) {
	const cache = 100 << 10
	for name, c := range map[string]struct {
		cache, refaults, faults, hits int
		want                          bool
	}{
		"files are read again and again":           {cache, 1000, 100, 10, true},
		"a file is streamed, nothing waits for it": {cache, 1000, 0, 10, false},
		"programs are loaded for the first time":   {cache, 0, 100, 10, false},
		"there is room for files":                  {64 << 20, 1000, 100, 10, false},
		"the bound was not met":                    {cache, 1000, 100, 0, false},
	} {
		for _, level := range []string{".", "1"} {
			t.Run(name+" "+level, func(t *testing.T) {
				f, set, write := runsFolder(t)
				write("memory.events", 1)
				f.Thrashes()
				got := []bool{}
				for i := 1; i <= 3; i++ {
					write("memory.events", 1+i*c.hits)
					set(level, c.cache, i*c.refaults, i*c.faults)
					got = append(got, f.Thrashes())
				}
				if got[0] || got[1] != c.want || got[2] != c.want {
					t.Errorf("got %v", got)
				}
			})
		}
	}
}

func TestTheLargestRunIsTheOneThatThrashes(t *testing.T) {
	f, set, write := runsFolder(t)
	for i := range 4 {
		write("memory.events", i+1)
		set(".", 0, i*1000, i*1000)
		for name, size := range map[string]string{"1": "5", "2": "6"} {
			if err := os.WriteFile(filepath.Join(filepath.Dir(f.path), name, "memory.current"), []byte(size), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if f.Thrashes() {
			t.Fatal("the smaller run was chosen")
		}
	}
}
