package boot

import (
	"slices"
	"testing"
)

func TestDiskSize(t *testing.T) {
	for line, want := range map[string]int64{"a emberbox.disk=1000 b": 1000, "": 0, "emberbox.disk=x": 0, "emberbox.disk=-5": 0, "xemberbox.disk=5": 0} {
		got, ok := diskSize(line)
		if ok != (want != 0) || (ok && got != want) {
			t.Errorf("%q gave %d %v", line, got, ok)
		}
	}
}

func TestModuleLists(t *testing.T) {
	for line, want := range map[string][]string{
		"quiet emberbox.channel=vsock:1024": {"order", "order-vsock"},
		"quiet emberbox.channel=vsock:":     {"order"},
		"quiet":                             {"order"},
	} {
		if got := moduleLists(line); !slices.Equal(got, want) {
			t.Errorf("%q gave %v", line, got)
		}
	}
}
