package environment_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"emberbox.dev/agent/internal/environment"
	"emberbox.dev/agent/internal/identity"
)

func TestImageAddsToTheBase(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "etc/emberbox/environment")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("# comment\nPATH=/opt/bin\n\nA=b=c\nnonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := environment.Load(root).For(identity.Root, []string{"A=d", "HOME=/x"})
	want := []string{"PATH=/opt/bin", "LANG=C.UTF-8", "A=d", "HOME=/x", "USER=root", "LOGNAME=root"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
}

func TestReadAtStart(t *testing.T) {
	for entry, want := range map[string]bool{
		"PYTHONHASHSEED=0": true, "LD_PRELOAD=x": true, "LC_ALL=C": true, "LANG=C": true, "LANGUAGE=de": true,
		"MALLOC_ARENA_MAX=1": true, "GLIBC_TUNABLES=x": true, "MPLBACKEND=agg": true, "OMP_NUM_THREADS=2": true, "MPLCONFIGDIR=/x": false, "K=PYTHON": false, "MYPYTHON=1": false, "LANGUAGES=x": false,
	} {
		if environment.ReadAtStart([]string{"A=b", entry}) != want {
			t.Errorf("%s: want %v", entry, want)
		}
	}
}
