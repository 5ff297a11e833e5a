package port_test

import (
	"testing"

	"emberbox.dev/agent/internal/port"
)

func TestVsockPort(t *testing.T) {
	for line, want := range map[string]uint32{"quiet emberbox.channel=vsock:1024 x": 1024, "emberbox.channel=virtio": 0, "": 0, "emberbox.channel=vsock:x": 0} {
		got, ok := port.VsockPort(line)
		if got != want || ok != (want != 0) {
			t.Errorf("%q gave %d %v", line, got, ok)
		}
	}
}
