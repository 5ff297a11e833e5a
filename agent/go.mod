module emberbox.dev/agent

go 1.24
