package identity_test

import (
	"errors"
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

func TestActReturnsTheError(t *testing.T) {
	want := errors.New("x")
	if err := identity.Current("/").Act(func() error { return want }); !errors.Is(err, want) {
		t.Fatalf("got %v", err)
	}
}
