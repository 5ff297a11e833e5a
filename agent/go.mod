module emberbox.dev/agent

go 1.25
