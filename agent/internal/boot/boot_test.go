package boot

import "testing"

func TestDiskSize(t *testing.T) {
	for line, want := range map[string]int64{"a emberbox.disk=1000 b": 1000, "": 0, "emberbox.disk=x": 0, "emberbox.disk=-5": 0, "xemberbox.disk=5": 0} {
		got, ok := diskSize(line)
		if ok != (want != 0) || (ok && got != want) {
			t.Errorf("%q gave %d %v", line, got, ok)
		}
	}
}
