package service

import (
	"fmt"

	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/nursery"
)

// plan is what a prepared machine keeps waiting.
type plan struct {
	ordered            bool
	argv, env, preload []string
	held               []nursery.Held
}

// waitingPlan reads the fields of a request to prepare.
func waitingPlan(fields *message.Reader) (*plan, error) {
	waiting, wanted := fields.Object("waiting")
	p := &plan{ordered: wanted, argv: waiting.Texts("argv"), env: waiting.Pairs("env"), preload: waiting.Texts("preload")}
	if wanted && len(p.argv) == 0 {
		waiting.Fail("argv", "must hold at least the program")
	}
	fields.Adopt("waiting", waiting)
	for _, one := range fields.Objects("held") {
		command := nursery.Held{
			Argv: one.Texts("argv"), Env: one.Pairs("env"), Script: one.MustText("script"),
			Opened: one.Truth("opened", false), Once: one.Truth("once", false),
		}
		if len(command.Argv) == 0 {
			one.Fail("argv", "must hold at least the program")
		}
		if problem := one.Problem(); problem != "" {
			return nil, failure.BadRequest("held: " + problem)
		}
		p.held = append(p.held, command)
	}
	return p, checked(fields)
}

func (p *plan) wanted() bool { return p.ordered || len(p.held) > 0 }

func (p *plan) carryOut(keeper Nursery) error {
	if p.ordered {
		if err := keeper.Wait(p.argv, p.env, p.preload); err != nil {
			return err
		}
	}
	for _, command := range p.held {
		if err := keeper.Hold(command); err != nil {
			return fmt.Errorf("%s cannot be held at %s: %w", command.Argv[0], command.Script, err)
		}
	}
	return nil
}
