package identity_test

import (
	"errors"
	"os"
	"testing"

	"emberbox.dev/agent/internal/identity"
)

func TestFind(t *testing.T) {
	table := identity.Table{Default: identity.Unprivileged}
	for name, want := range map[string]identity.User{
		"": identity.Unprivileged, "user": identity.Unprivileged, "root": identity.Root, "5:6": {ID: 5, Group: 6, Name: "5", Home: "/work"},
	} {
		if got, err := table.Find(name); err != nil || got != want {
			t.Errorf("%q gave %+v %v", name, got, err)
		}
	}
	for _, name := range []string{"nobody", "5", "5:", ":5", "-1:5", "5:6:7", "4294967295:0", "x:y"} {
		if got, err := table.Find(name); err == nil {
			t.Errorf("%q gave %+v", name, got)
		}
	}
}

func TestLoad(t *testing.T) {
	for text, want := range map[string]identity.User{
		"65534:7\n": {ID: 65534, Group: 7, Name: "65534", Home: "/work"}, "0:0": {ID: 0, Group: 0, Name: "0", Home: "/work"},
		"": identity.Unprivileged, "nobody": identity.Unprivileged, "1": identity.Unprivileged,
	} {
		root := t.TempDir()
		if err := os.MkdirAll(root+"/etc/emberbox", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/etc/emberbox/user", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := identity.Load(root); got != want {
			t.Errorf("%q gave %+v", text, got)
		}
	}
	if got := identity.Load(t.TempDir()); got != identity.Unprivileged {
		t.Errorf("no file gave %+v", got)
	}
}

func TestActReturnsTheError(t *testing.T) {
	want := errors.New("x")
	if err := identity.Current("/").Act(func() error { return want }); !errors.Is(err, want) {
		t.Fatalf("got %v", err)
	}
}
