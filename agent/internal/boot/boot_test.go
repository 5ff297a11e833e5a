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

func TestLayers(t *testing.T) {
	for line, want := range map[string]int{
		"a emberbox.layers=2 b": 2, "": 0, "emberbox.layers=x": 0, "emberbox.layers=-1": 0, "emberbox.layers=3": 0, "xemberbox.layers=1": 0,
	} {
		if got := layerCount(line); got != want {
			t.Errorf("%q gave %d", line, got)
		}
	}
	if got := []string{drive(0), drive(1), drive(3)}; !slices.Equal(got, []string{rootDevice, "/dev/vdb", "/dev/vdd"}) {
		t.Errorf("the drives are %v", got)
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
