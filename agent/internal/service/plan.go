package service

import (
	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/nursery"
)

// waitingPlan reads what is to wait from the fields of a request to prepare.
func waitingPlan(fields *message.Reader) (plan nursery.Plan, err error) {
	if waiting, wanted := fields.Object("waiting"); wanted {
		plan.Ordered = &nursery.Ordered{
			Argv: waiting.Texts("argv"), Env: waiting.Pairs("env"), Preload: waiting.Texts("preload"),
		}
		if len(plan.Ordered.Argv) == 0 {
			waiting.Fail("argv", "must hold at least the program")
		}
		fields.Adopt("waiting", waiting)
	}
	for _, one := range fields.Objects("held") {
		command := nursery.Held{
			Argv: one.Texts("argv"), Env: one.Pairs("env"), Script: one.MustText("script"),
			Opened: one.Truth("opened", false), Once: one.Truth("once", false),
		}
		if len(command.Argv) == 0 {
			one.Fail("argv", "must hold at least the program")
		}
		if problem := one.Problem(); problem != "" {
			return plan, failure.BadRequest("held: " + problem)
		}
		plan.Held = append(plan.Held, command)
	}
	return plan, checked(fields)
}
