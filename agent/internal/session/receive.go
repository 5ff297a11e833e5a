package session

import (
	"encoding/binary"
	"slices"

	"emberbox.dev/agent/internal/frame"
	"emberbox.dev/agent/internal/message"
)

// input takes a DATA frame from the host.
func (c *Call) input(h frame.Header, payload []byte) error {
	if h.Stream() != Input {
		return frame.Violation("DATA to the agent is not of stream 0")
	}
	c.mu.Lock()
	if err := c.streams[Input].spend(len(payload), h.Ended()); err != nil {
		c.mu.Unlock()
		return err
	}
	if c.discard || c.cancelled {
		grant := c.owe(len(payload))
		c.mu.Unlock()
		c.sendGrant(grant)
		return nil
	}
	if len(payload) > 0 {
		c.chunks = append(c.chunks, slices.Clone(payload))
	}
	c.notify()
	c.mu.Unlock()
	return nil
}

// granted takes a CREDIT frame from the host.
func (c *Call) granted(h frame.Header, payload []byte) error {
	if h.Stream() == Input {
		return frame.Violation("CREDIT to the agent is of stream 0")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.streams[h.Stream()].grant(binary.BigEndian.Uint32(payload)); err != nil {
		return err
	}
	c.notify()
	return nil
}

// control takes a CONTROL frame from the host; one that is not known has no effect.
func (c *Call) control(body message.Object) {
	switch body.Text("control") {
	case "cancel":
		c.cancel()
	case "kill":
		c.command(Command{Kill: true})
	case "signal":
		if v, ok := body.Get("signal"); ok {
			if number, ok := v.Int(); ok && number > 0 && number <= 64 {
				c.command(Command{Signal: int(number)})
			}
		}
	}
}

const maxCommands = 64

func (c *Call) command(command Command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.commands) < maxCommands {
		c.commands = append(c.commands, command)
		c.notify()
	}
}

func (c *Call) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelled = true
	c.chunks = nil
	c.notify()
}
