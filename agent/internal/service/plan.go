package service

import (
	"emberbox.dev/agent/internal/failure"
	"emberbox.dev/agent/internal/message"
	"emberbox.dev/agent/internal/waiting"
)

// waitingPlan reads what is to wait from the fields of a request to prepare.
func waitingPlan(fields *message.Reader) (plan waiting.Plan, err error) {
	if ordered, wanted := fields.Object("waiting"); wanted {
		plan.Ordered = &waiting.Ordered{
			Argv: ordered.Texts("argv"), Env: ordered.Pairs("env"), Preload: ordered.Texts("preload"),
		}
		if len(plan.Ordered.Argv) == 0 {
			ordered.Fail("argv", "must hold at least the program")
		}
		fields.Adopt("waiting", ordered)
	}
	for _, one := range fields.Objects("held") {
		command := waiting.Held{
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
